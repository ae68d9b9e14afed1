// npm run test:tsan: core and the fake kernel, used by several threads at once (test/native/threads.cc), under
// ThreadSanitizer. Outside Node, which is not built for it and would bury the addon's races under its own.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

import { root } from './cmake';

const program = 'build/tsan/threads';

function sources(): string[] {
  return ['native/core', 'native/kernel', 'native/fake', 'test/native'].flatMap((folder) =>
    readdirSync(path.join(root, folder))
      .filter((file) => file.endsWith('.cc'))
      .map((file) => path.join(folder, file)),
  );
}

function run(command: string, ...args: string[]): number {
  const { status, signal, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error) throw error;
  if (signal) console.error(`${command} was ended by ${signal}`);
  return status ?? 1;
}

function compile(): number {
  mkdirSync(path.join(root, path.dirname(program)), { recursive: true });
  const flags = ['-std=c++20', '-O1', '-g', '-Wall', '-Wextra', '-Wconversion', '-Wno-missing-field-initializers'];
  return run(process.env['CXX'] ?? 'c++', ...flags, '-fsanitize=thread', '-Inative', ...sources(), '-o', program);
}

/** Where addresses are chosen from more bits than this, they may lie where older ThreadSanitizers want their own. */
function addressesAreTooRandom(): boolean {
  return Number(readFileSync('/proc/sys/vm/mmap_rnd_bits', 'utf8')) > 28;
}

function main(): number {
  const compiled = compile();
  if (compiled !== 0) return compiled;
  const status = addressesAreTooRandom() ? run('setarch', '-R', program) : run(program);
  console.log(status === 0 ? 'test:tsan: no race' : 'test:tsan: FAILED');
  return status;
}

process.exitCode = main();
