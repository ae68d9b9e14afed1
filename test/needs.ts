// Requirements of a test other than Node: a program, a permission, a kernel feature. If one is missing, the test is
// skipped, and its title names it. With VFIO_DMABUF_TEST_ALL=1 the test fails instead: continuous integration meets all
// requirements.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import type { AsyncFunc, Context } from 'mocha';

/** Returns what is missing, in words; undefined: nothing is missing. */
export type Need = () => string | undefined;

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** A program in PATH. */
export const program =
  (name: string): Need =>
  () =>
    (process.env['PATH'] ?? '').split(delimiter).some((folder) => isExecutable(join(folder, name)))
      ? undefined
      : `${name} is not installed`;

/** Python 3.9, the first version with socket.send_fds(). */
export const python: Need = () => {
  const missing = program('python3')();
  if (missing !== undefined) return missing;
  const { status } = spawnSync('python3', ['-c', 'import socket; socket.send_fds']);
  return status === 0 ? undefined : 'python3 does not run, or is older than 3.9';
};
export const qemu = program('qemu-system-x86_64');
export const bash = program('bash');
export const bun = program('bun');
export const deno = program('deno');
/** A program of util-linux. */
export const prlimit = program('prlimit');
export const sed = program('sed');
export const mkfifo = program('mkfifo');
/** A C++ compiler, which scripts/check-abi.ts runs. */
export const compiler: Need = () => {
  const chosen = process.env['CXX'];
  const found = chosen !== undefined || ['g++', 'c++', 'clang++'].some((name) => program(name)() === undefined);
  return found ? undefined : 'no C++ compiler is installed';
};

/** A limit that allows this many open files. */
export const openFiles =
  (count: number): Need =>
  () => {
    const limit = /^Max open files\s+(\w+)/m.exec(readFileSync('/proc/self/limits', 'latin1'))?.[1] ?? '';
    return limit === 'unlimited' || Number(limit) >= count
      ? undefined
      : `it opens ${String(count)} files, and the limit is ${limit} (ulimit -n)`;
  };

/** The C library's headers, on an architecture whose errno values are the generic ones. */
export const errnoHeaders: Need = () =>
  existsSync('/usr/include/asm-generic/errno.h') ? undefined : 'the C library has no headers here';

const capabilities = { chown: 0n, setgid: 6n, setuid: 7n } as const;

/** The permission to change the user id, and to change the owner of files. */
export const superuser: Need = () => {
  const effective = BigInt(`0x${/^CapEff:\s*(\w+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0'}`);
  const has = (bit: bigint) => ((effective >> bit) & 1n) === 1n;
  return process.geteuid?.() === 0 && Object.values(capabilities).every(has) ? undefined : 'only root can do this';
};

/** Describes the first of the needs that is not met. */
export function missing(needs: readonly Need[]): string | undefined {
  for (const need of needs) {
    const what = need();
    if (what !== undefined) return what;
  }
  return undefined;
}

const everything = process.env['VFIO_DMABUF_TEST_ALL'] === '1';

/** it() for a test that has needs. */
export function itNeeds(needs: readonly Need[], title: string, body: (this: Context) => unknown): void {
  const what = missing(needs);
  if (what === undefined) it(title, body as AsyncFunc);
  else if (everything) it(title, () => assert.fail(`cannot run: ${what}`));
  else it.skip(`${title} (skipped: ${what})`);
}
