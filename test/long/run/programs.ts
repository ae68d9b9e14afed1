// Compiles the programs of these tests, and runs programs on a fake machine with `vfio-dmabuf run`.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { missing, compiler, type Need } from '../../needs';
import { temporaryFolder } from '../../cleanup';
import { typescript } from '../../typescript';

const checkout = resolve(__dirname, '../../..');
const main = join(checkout, 'lib/cli/main.ts');

export const x86: Need = () => (process.arch === 'x64' ? undefined : 'vfio-dmabuf run works on x86-64');
export const canRun: readonly Need[] = [x86, compiler];

/** A C++ compiler of this host. */
function cxx(): string {
  const candidates = [process.env['CXX'], 'g++', 'c++', 'clang++'];
  const found = candidates.find((name) => name && spawnSync(name, ['--version']).status === 0);
  assert(found !== undefined);
  return found;
}

/** Compiles programs/NAME.cc. Returns the program's path. */
export function compile(name: string, ...options: string[]): string {
  assert.equal(missing(canRun), undefined);
  const program = join(temporaryFolder(), name);
  const source = join(__dirname, 'programs', `${name}.cc`);
  const args = ['-std=c++20', '-O1', '-I', join(checkout, 'native'), source, '-o', program, '-lpthread', ...options];
  const { status, stderr } = spawnSync(cxx(), args, { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  return program;
}

export interface Ran {
  status: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export function run(args: readonly string[], options: { env?: NodeJS.ProcessEnv; input?: string } = {}): Ran {
  const { env = process.env, input = '' } = options;
  const command = [...typescript, main, 'run', ...args];
  return spawnSync(process.execPath, command, { cwd: checkout, encoding: 'utf8', env, input, timeout: 60_000 });
}

/** Runs a program that must succeed. Returns what it printed. */
export function output(...args: string[]): string {
  const { status, signal, stdout, stderr } = run(['--', ...args]);
  assert.equal(status, 0, `${stderr}${signal ?? ''}`);
  return stdout;
}
