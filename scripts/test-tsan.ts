// npm run test:tsan: several threads use core and the fake kernel at once (test/native/threads.cc), under
// ThreadSanitizer. The program runs outside Node, which is not built for ThreadSanitizer and has data races of its own.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';

import { cmakeJs, root } from './cmake';

const out = 'build/tsan';
const program = path.join(root, out, 'threads');

function run(command: string, ...args: string[]): number {
  const { status, signal, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (error) throw error;
  if (signal) console.error(`${command} was ended by ${signal}`);
  return status ?? 1;
}

function compile(): number {
  const configured = cmakeJs('configure', ['-O', out, '--CDVFIO_DMABUF_SANITIZE=thread']);
  return configured || cmakeJs('build', ['-O', out, '--target', 'threads']);
}

/** Whether the kernel randomizes more address bits than older ThreadSanitizers support. */
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
