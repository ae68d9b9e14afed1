// Installs the tarball by each package manager, offline, with scripts blocked and no compiler in PATH, and runs the
// quick start there. Then truncates the addon, and runs the command that the error names.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';

import { type Tools } from './tools';

interface Manager {
  /** The name of its program. */
  program: string;
  /** The program's command. */
  command: (tools: Tools) => string[];
  install: (tarball: string) => string[];
  offline: string[];
  /** Whether the offline install starts with the files of the first one: Yarn 4 resolves versions only online. */
  fromLock?: boolean;
  /** The environment of an offline install. */
  env?: NodeJS.ProcessEnv;
  /** Files of the project. */
  files?: Record<string, string>;
  /** Runs node in the project. */
  node: string[];
}

const node = process.execPath;
const settings = 'enableTelemetry: false\nenableScripts: false\n';

const berry: Omit<Manager, 'files' | 'node'> = {
  program: 'yarn',
  command: ({ berry }) => [node, berry],
  install: (tarball) => ['add', `vfio-dmabuf@file:${tarball}`],
  offline: [],
  fromLock: true,
  env: { YARN_ENABLE_NETWORK: '0' },
};

const managers: Record<string, Manager> = {
  npm: {
    program: 'npm',
    command: () => [node, npmProgram()],
    install: (tarball) => ['install', '--ignore-scripts', '--no-audit', '--no-fund', tarball],
    offline: ['--offline'],
    node: [node],
  },
  pnpm: {
    program: 'pnpm',
    command: ({ pnpm }) => [pnpm],
    install: (tarball) => ['add', '--ignore-scripts', tarball],
    offline: ['--offline'],
    node: [node],
  },
  'yarn 1': {
    program: 'yarn',
    command: ({ yarn }) => [node, yarn],
    install: (tarball) => ['add', '--ignore-scripts', `file:${tarball}`],
    offline: ['--offline'],
    node: [node],
  },
  'yarn 4': {
    ...berry,
    files: { '.yarnrc.yml': `${settings}nodeLinker: node-modules\n`, 'yarn.lock': '' },
    node: [node],
  },
  'yarn 4 PnP': { ...berry, files: { '.yarnrc.yml': settings, 'yarn.lock': '' }, node: ['yarn', 'node'] },
  bun: {
    program: 'bun',
    command: ({ bun }) => [bun],
    install: (tarball) => ['add', '--ignore-scripts', tarball],
    offline: ['--offline'],
    node: [node],
  },
};

/** The file of npm's program. It is found here, because npm is not in the PATH of the installs. */
export function npmProgram(): string {
  return realpathSync(execFileSync('sh', ['-c', 'command -v npm'], { encoding: 'utf8' }).trim());
}

/** A folder with node, sh, rm and the package manager, and no compiler. */
function makePath(folder: string, { program, command }: Manager, tools: Tools): string {
  mkdirSync(folder, { recursive: true });
  symlinkSync(node, path.join(folder, 'node'));
  for (const name of ['sh', 'rm', 'env']) symlinkSync(`/bin/${name}`, path.join(folder, name));
  const words = command(tools).map((word) => `'${word}'`);
  writeFileSync(path.join(folder, program), `#!/bin/sh\nexec ${words.join(' ')} "$@"\n`);
  chmodSync(path.join(folder, program), 0o755);
  return folder;
}

const probe = `
try {
  new (require('vfio-dmabuf/fake').FakeKernel)();
  console.log(Object.keys(require.cache).find((name) => name.endsWith('.node')));
} catch ({ code, message }) {
  console.log(code, message);
}`;

/** Tests one package manager. `quickStart` is a program, and `expected` its output. Returns seconds of the install. */
function test(
  name: string,
  folder: string,
  tarball: string,
  tools: Tools,
  quickStart: string,
  expected: string,
): number {
  const manager = managers[name];
  if (!manager) throw new Error(`no package manager ${name}`);
  const PATH = makePath(path.join(folder, `${name} path`), manager, tools);
  const project = (kind: string): string => {
    const cwd = path.join(folder, `${name} ${kind}`);
    mkdirSync(cwd);
    writeFileSync(path.join(cwd, 'package.json'), JSON.stringify({ name: 'user', private: true }));
    for (const [file, content] of Object.entries(manager.files ?? {})) writeFileSync(path.join(cwd, file), content);
    return cwd;
  };
  const run = (cwd: string, [program = '', ...args]: readonly string[], env: NodeJS.ProcessEnv = {}): string => {
    const inherited = Object.entries(process.env).filter(
      ([key]) => !key.startsWith('npm_') || /registry|cafile/.test(key),
    );
    return execFileSync(program, args, {
      ...{ cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] },
      env: { ...Object.fromEntries(inherited), CI: '', PATH, ...env },
    });
  };
  const sh = (cwd: string, command: string): string => run(cwd, ['sh', '-c', command]);

  // The first install fills the package manager's cache.
  const online = project('online');
  run(online, [manager.program, ...manager.install(tarball)]);
  const cwd = project('offline');
  if (manager.fromLock)
    for (const file of ['package.json', 'yarn.lock']) copyFileSync(path.join(online, file), path.join(cwd, file));
  const start = process.hrtime.bigint();
  run(cwd, [manager.program, ...manager.install(tarball), ...manager.offline], manager.env);
  const seconds = Number(process.hrtime.bigint() - start) / 1e9;

  writeFileSync(path.join(cwd, 'quick-start.mjs'), quickStart);
  const fake = { VFIO_DMABUF_KERNEL: 'fake', NODE_NO_WARNINGS: '1' };
  const output = run(cwd, [...manager.node, 'quick-start.mjs'], fake);
  if (output !== expected) throw new Error(`${name}: the quick start printed ${output}`);

  const load = (): string => run(cwd, [...manager.node, '-e', probe]).trim();
  const addon = load();
  if (!addon.endsWith(`prebuilds/linux-${process.arch}/vfio_dmabuf.node`)) throw new Error(`${name}: loaded ${addon}`);
  const bytes = readFileSync(addon);
  rmSync(addon); // the package manager's cache may have the same inode
  writeFileSync(addon, bytes.subarray(0, 5000));
  const [, advice] = /^ERR_ADDON_TRUNCATED .* restore it: (.*)$/.exec(load()) ?? [];
  if (advice === undefined) throw new Error(`${name}: with a truncated addon: ${load()}`);
  sh(cwd, advice);
  if (load() !== addon) throw new Error(`${name}: \`${advice}\` did not restore the addon: ${load()}`);
  return seconds;
}

export function testManagers(
  folder: string,
  tarball: string,
  tools: Tools,
  quickStart: string,
  expected: string,
  names = Object.keys(managers),
): void {
  for (const name of names) {
    const seconds = test(name, folder, tarball, tools, quickStart, expected);
    console.log(
      `ok: ${name}: installs offline without scripts or compiler in ${seconds.toFixed(1)} s, runs, is restored`,
    );
  }
}

/** What npm's own commands do to an installed package, and to a checkout that a project links. */
export function testRebuild(project: string, linked: string): void {
  const npm = (cwd: string, ...args: string[]): void => {
    try {
      execFileSync(node, [npmProgram(), ...args], { cwd, stdio: 'ignore' });
    } catch {
      // Whether it fails does not matter, but what it leaves
    }
  };
  npm(project, 'rebuild', 'vfio-dmabuf');
  const user = path.join(path.dirname(linked), 'user of a checkout');
  mkdirSync(user);
  writeFileSync(path.join(user, 'package.json'), JSON.stringify({ name: 'user', private: true }));
  npm(user, 'install', '--no-audit', '--no-fund', '--ignore-scripts', '--install-links=false', linked);
  npm(user, 'rebuild', 'vfio-dmabuf');
  for (const folder of [path.join(project, 'node_modules/vfio-dmabuf'), path.join(user, 'node_modules/vfio-dmabuf')]) {
    for (const file of ['dist/index.js', 'dist/index.d.ts']) {
      if (!existsSync(path.join(folder, file))) throw new Error(`npm rebuild removed ${file} in ${folder}`);
    }
  }
  console.log('ok: npm rebuild removes nothing, in an installed package and in a linked checkout');
}
