// The one command that mends an installation, in the words of its package manager.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

type Manager = 'npm' | 'pnpm' | 'yarn' | 'berry' | 'bun';

/** Files that package managers leave, in a folder with node_modules. */
const marks: readonly (readonly [file: string, manager: Manager])[] = [
  ['node_modules/.modules.yaml', 'pnpm'],
  ['node_modules/.yarn-state.yml', 'berry'],
  ['node_modules/.yarn-integrity', 'yarn'],
  ['node_modules/.package-lock.json', 'npm'],
  ['pnpm-lock.yaml', 'pnpm'],
  ['bun.lock', 'bun'],
  ['bun.lockb', 'bun'],
  ['.yarnrc.yml', 'berry'],
  ['.pnp.cjs', 'berry'],
  ['yarn.lock', 'yarn'],
  ['package-lock.json', 'npm'],
  ['npm-shrinkwrap.json', 'npm'],
];

/** Runs the program vfio-dmabuf-build, and no other of this name. */
const run: Record<Manager, string> = {
  npm: 'npx --no',
  pnpm: 'pnpm exec',
  yarn: 'yarn run',
  berry: 'yarn run',
  bun: 'bunx --no-install',
};

/** Extracts a package again: some only if the package is not there. Nothing else is removed. */
const reinstall: Record<Manager, (folder: string) => string> = {
  npm: (folder) => `rm -r ${folder} && npm install`,
  pnpm: () => 'pnpm install --force',
  yarn: () => 'yarn install --force',
  berry: (folder) => `rm -r ${folder} && yarn install`,
  bun: () => 'bun install --force',
};

function above(folder: string): string[] {
  const parent = dirname(folder);
  return parent === folder ? [folder] : [folder, ...above(parent)];
}

/** The package manager that installed the package in `root`, or else the one that started this process. */
function managerOf(root: string): Manager {
  for (const folder of above(root)) {
    const mark = marks.find(([file]) => existsSync(join(folder, file)));
    if (mark) return mark[1];
  }
  const [, name, major] = /^(npm|pnpm|yarn|bun)\/(\d+)/.exec(process.env['npm_config_user_agent'] ?? '') ?? [];
  return name === 'yarn' && major !== '1' ? 'berry' : ((name as Manager | undefined) ?? 'npm');
}

/** The command that builds the addon on this machine. @internal */
export function buildCommand(root: string, isCheckout: boolean): string {
  if (isCheckout) return 'npm run rebuild';
  const linked = above(root).some((folder) => existsSync(join(folder, 'node_modules/.bin/vfio-dmabuf-build')));
  if (linked) return `${run[managerOf(root)]} vfio-dmabuf-build`;
  return `node ${JSON.stringify(join(root, 'scripts/install/addon.mjs'))}`;
}

/** The command that brings back the package's own files. @internal */
export function reinstallCommand(root: string): string {
  return reinstall[managerOf(root)](JSON.stringify(root));
}
