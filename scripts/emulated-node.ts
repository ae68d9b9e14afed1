// Node for arm64, emulated by QEMU (Debian: qemu-user-static, and the C library of g++-aarch64-linux-gnu).
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { fetchNode, findVersion } from './node-versions';

const libraries = '/usr/aarch64-linux-gnu';

/**
 * Writes a program `node` into `bin` that runs the newest arm64 Node of a release line. Processes that a test starts by
 * `process.execPath` are emulated, too.
 */
export function emulateNode(bin: string, line: string): { version: string; env: NodeJS.ProcessEnv } {
  if (spawnSync('qemu-aarch64-static', ['--version']).status !== 0 || !existsSync(libraries)) {
    throw new Error('the emulator is missing (Debian: apt install qemu-user-static g++-aarch64-linux-gnu)');
  }
  const version = findVersion(line, 'arm64');
  const program = path.join(fetchNode(version, 'arm64'), 'node');
  const node = path.join(bin, 'node');
  const preload = path.join(bin, 'preload.cjs');
  mkdirSync(bin, { recursive: true });
  writeFileSync(preload, `process.execPath = ${JSON.stringify(node)};\n`);
  const run = `exec qemu-aarch64-static -L ${libraries} '${program}' --require '${preload}' "$@"`;
  writeFileSync(node, `#!/bin/sh\n${run}\n`);
  chmodSync(node, 0o755);
  // esbuild, which compiles the tests, is a program of this machine.
  const esbuild = path.join(path.dirname(require.resolve('esbuild/package.json')), 'bin/esbuild');
  return { version, env: { ESBUILD_BINARY_PATH: esbuild } };
}
