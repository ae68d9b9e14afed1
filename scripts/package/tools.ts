// The programs that test:package runs, from the npm registry, kept in the user's cache. None needs an install script.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { cache } from '../node-versions';

const bun = process.arch === 'arm64' ? '@oven/bun-linux-aarch64' : `@oven/bun-linux-${process.arch}`;
const pnpm = `@pnpm/exe.linux-${process.arch}`;

/** The oldest TypeScript that accepts the package's types without skipLibCheck, as the README says. */
export const oldestTypeScript = '5.2.2';

const packages = {
  [bun]: '1.4.5',
  [pnpm]: '12.21.0',
  yarn: '1.22.22',
  '@yarnpkg/cli-dist': '4.18.1',
  '@arethetypeswrong/cli': '0.18.5',
  publint: '0.3.25',
  'oldest-typescript': `npm:typescript@${oldestTypeScript}`,
};

export interface Tools {
  pnpm: string;
  bun: string;
  /** Programs for node. */
  yarn: string;
  berry: string;
  attw: string;
  publint: string;
  tsc: string;
}

export function fetchTools(): Tools {
  const manifest = JSON.stringify({ private: true, dependencies: packages });
  const folder = path.join(cache, `tools-${createHash('sha256').update(manifest).digest('hex').slice(0, 12)}`);
  if (!existsSync(folder)) {
    mkdirSync(cache, { recursive: true });
    const partial = mkdtempSync(path.join(cache, 'partial-'));
    try {
      writeFileSync(path.join(partial, 'package.json'), manifest);
      const options = ['--silent', '--ignore-scripts', '--no-audit', '--no-fund', '--no-bin-links'];
      execFileSync('npm', ['install', ...options], { cwd: partial, stdio: 'inherit' });
      renameSync(partial, folder); // only when it is complete
    } finally {
      rmSync(partial, { recursive: true, force: true });
    }
  }
  const file = (name: string) => path.join(folder, 'node_modules', name);
  return {
    pnpm: file(`${pnpm}/pnpm`),
    bun: file(`${bun}/bin/bun`),
    yarn: file('yarn/bin/yarn.js'),
    berry: file('@yarnpkg/cli-dist/bin/yarn.js'),
    attw: file('@arethetypeswrong/cli/dist/index.js'),
    publint: file('publint/src/cli.js'),
    tsc: file('oldest-typescript/lib/tsc.js'),
  };
}
