// npm run soak -- --cycles N [--vm]: N cycles of map and unmap, and a share of other operations. Memory and fds must
// not grow.
// npm run soak -- --interrupts N [--vm]: N interrupts in bursts. None may be lost, and the event loop must not block.
// npm run soak -- --fds N [--seed N] [--vm]: sends N fds to other processes and back, and kills some of these. No fd
// may leak.
// npm run soak -- --threads N --seconds S [--seed N] [--vm]: worker threads that compete for the same devices and share
// them, and disable a device's memory decoding while others load from its registers.
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { reference } from '../lib/fake';
import { exitWith } from './exit';
import { compile, plain } from './compile.cjs';
import { runInVm } from './vm/vm';

const { values } = parseArgs({
  options: {
    cycles: { type: 'string' },
    interrupts: { type: 'string' },
    fds: { type: 'string' },
    threads: { type: 'string', default: '4' },
    seconds: { type: 'string', default: '60' },
    seed: { type: 'string', default: '1' },
    vm: { type: 'boolean', default: false },
    timeout: { type: 'string', default: '900' },
  },
});

// Makes rss show leaks: memory that the allocator and V8 only cache would be twenty times the bound.
const frugal = { MALLOC_ARENA_MAX: '1', MALLOC_TRIM_THRESHOLD_: '65536', MALLOC_MMAP_THRESHOLD_: '131072' };

function command(): string[] {
  const node = (script: string, ...args: string[]) => [
    ...[process.execPath, '--expose-gc', '--max-semi-space-size=2', plain(script)],
    ...args,
  ];
  if (values.cycles !== undefined) {
    return node('scripts/soak/cycles.ts', values.cycles, ...(values.vm ? ['kernel'] : []));
  }
  if (values.interrupts !== undefined) return node('scripts/soak/interrupts.ts', values.interrupts);
  if (values.fds !== undefined) return node('scripts/soak/fds.ts', values.fds, values.seed);
  return node('scripts/soak/threads.ts', values.threads, values.seconds, values.seed);
}

async function main(): Promise<number> {
  compile();
  const [program = '', ...args] = command();
  if (!values.vm) {
    const env = { ...process.env, ...frugal, VFIO_DMABUF_KERNEL: 'fake' };
    const { status, signal } = spawnSync(program, args, { stdio: 'inherit', env });
    if (signal) console.log(`FAILED: ended by ${signal}`);
    return status ?? 1;
  }
  // Warnings in the kernel's log are failures, too.
  const quiet = '! dmesg | grep -E "WARNING:|BUG:|Oops|refcount_t|hung task|kmemleak"';
  return runInVm({
    machine: reference,
    command: ['bash', '-c', `"$@"; status=$?; ${quiet} && exit $status`, 'soak', program, ...args],
    environment: { ...frugal, VFIO_DMABUF_KERNEL: 'system' },
    timeout: Number(values.timeout),
  });
}

exitWith(main());
