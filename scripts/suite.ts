// Runs the tests of `npm run test:all` in other ways: in another folder, with another Node, or in processes whose exit status
// counts.
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

import { root } from './cmake';

const { scripts } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as {
  scripts: { 'test:all': string };
};

/** The shell command. It needs a checkout with node_modules/.bin in PATH. */
export const suiteCommand = scripts['test:all'];

export interface SuiteResult {
  ok: boolean;
  passed: number;
}

/** How to run the suite. */
export interface SuiteOptions {
  /** A checkout. */
  folder: string;
  /** The folder of the `node` program to use. */
  bin: string;
  env?: NodeJS.ProcessEnv;
  /**
   * Divides the files among this many processes of mocha, without mocha's workers. mocha ignores the exit status of its
   * workers, and a sanitizer reports leaks when a process exits.
   */
  processes?: number;
  /** With `processes`: the files to run, in `folder`. Default: all. */
  files?: readonly string[];
}

/** The files of the suite. */
function suiteFiles(folder: string): string[] {
  return readdirSync(path.join(folder, 'test'), { recursive: true, encoding: 'utf8' })
    .filter((file) => /^(?:long|unit|conformance)\/.*\.test\.ts$/.test(file))
    .map((file) => path.join('test', file))
    .sort();
}

function divide(files: readonly string[], parts: number): string[][] {
  return Array.from({ length: parts }, (_, part) => files.filter((_file, i) => i % parts === part));
}

function run(command: string, args: readonly string[], { folder, bin, env }: SuiteOptions): Promise<SuiteResult> {
  const search = [bin, path.join(folder, 'node_modules/.bin'), process.env['PATH']].join(path.delimiter);
  const mocha = spawn('sh', ['-c', `${command} "$@" --reporter dot`, 'mocha', ...args], {
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
      // A run without any test is a failure.
      resolve({ ok: status === 0 && passed > 0, passed });
    });
  });
}

/** Runs the suite. Prints a dot for each case, and the failures. */
export async function runSuite(options: SuiteOptions): Promise<SuiteResult> {
  const { folder, processes, files = [] } = options;
  if (processes === undefined) return run(suiteCommand, [], options);
  const parts = divide(files.length > 0 ? files : suiteFiles(folder), processes).filter(({ length }) => length > 0);
  const results = await Promise.all(parts.map((files) => run('mocha', files, options)));
  return {
    ok: results.every(({ ok }) => ok),
    passed: results.reduce((sum, { passed }) => sum + passed, 0),
  };
}
