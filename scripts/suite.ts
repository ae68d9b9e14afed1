// The tests that `npm test` runs, run otherwise: in another folder, by another Node.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';

import { root } from './cmake';

const { scripts } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { scripts: { test: string } };

/** For a shell, in a checkout with node_modules/.bin in PATH. */
export const suiteCommand = scripts.test;

export interface SuiteResult {
  ok: boolean;
  passed: number;
}

/**
 * Runs the suite in `folder`, a checkout, with the `node` that lies in `bin`. Prints a dot for each case, and what
 * failed.
 */
export function runSuite(folder: string, bin: string, env: NodeJS.ProcessEnv = {}): Promise<SuiteResult> {
  const search = [bin, path.join(folder, 'node_modules/.bin'), process.env['PATH']].join(path.delimiter);
  const mocha = spawn('sh', ['-c', `${suiteCommand} --reporter dot`], {
    cwd: folder,
    env: { ...process.env, ...env, PATH: search },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  mocha.stdout.on('data', (text: Buffer) => {
    process.stdout.write(text);
    output += text.toString();
  });
  return new Promise((resolve, reject) => {
    mocha.once('error', reject);
    mocha.once('close', (status) => {
      const passed = Number(/^\s*(\d+) passing/m.exec(output)?.[1] ?? 0);
      // A run that found no test is no success.
      resolve({ ok: status === 0 && passed > 0, passed });
    });
  });
}
