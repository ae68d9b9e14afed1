#!/usr/bin/env node
// Builds the addon for this machine, on all cores: in a checkout, and in an installed package where no prebuilt addon
// fits. It is the command `vfio-dmabuf-build`. It needs Python 3, make and a C++20 compiler, and no other file than those
// of the package.
import { spawnSync } from 'node:child_process';
import console from 'node:console';
import { existsSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import process from 'node:process';
import { fileURLToPath, URL } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const built = path.join(root, 'build/Release/vfio_dmabuf.node');
const gyp = path.join(root, 'binding.gyp');

/** node-gyp's program: the one that a package manager names, an installed one, or npm's. */
function findNodeGyp() {
  const named = process.env.npm_config_node_gyp;
  if (named && existsSync(named)) return named;
  for (const base of [root, `${process.cwd()}/`, realpathSync(process.execPath)]) {
    try {
      return createRequire(base).resolve('node-gyp/bin/node-gyp.js');
    } catch {
      // not there
    }
  }
  const folders = (process.env.PATH ?? '').split(path.delimiter).filter((folder) => existsSync(`${folder}/npm`));
  const npms = folders.map((folder) => path.resolve(realpathSync(`${folder}/npm`), '../..'));
  return [path.resolve(process.execPath, '../../lib/node_modules/npm'), ...npms]
    .map((npm) => path.join(npm, 'node_modules/node-gyp/bin/node-gyp.js'))
    .find((file) => existsSync(file));
}

function run(...args) {
  const { status, signal, error } = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  if (error) throw error;
  return signal ? 1 : status;
}

/** Builds what has changed, or everything. Returns an exit status. */
export function buildAddon() {
  const nodeGyp = findNodeGyp();
  if (nodeGyp === undefined) {
    console.error('vfio-dmabuf: node-gyp was not found. Install it in this project, or install npm.');
    return 1;
  }
  // The package has no binding.gyp: package managers would build it. A checkout has one.
  const temporary = !existsSync(path.join(root, 'tsconfig.build.json'));
  try {
    if (temporary) writeFileSync(gyp, "{'includes': ['native/addon.gypi']}\n");
    const failed =
      run(nodeGyp, 'configure', '--loglevel=error') || run(nodeGyp, 'build', '-j', 'max', '--loglevel=error');
    if (failed) {
      console.error('vfio-dmabuf: the addon was not built. It needs Linux, Python 3, make and a C++20 compiler.');
      return failed;
    }
  } finally {
    if (temporary) rmSync(gyp, { force: true });
  }
  return run('-e', 'require(process.argv[1])', built);
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  process.exitCode = buildAddon();
  if (process.exitCode === 0) console.log(`vfio-dmabuf: built ${built}`);
}
