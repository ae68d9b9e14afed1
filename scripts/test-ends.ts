// npm run test:ends [-- --vm]: checks that processes and workers which end at any step leave nothing behind, on the
// fake kernel or on a real one in the virtual machine.
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { reference } from '../lib/fake';
import { exitWith } from './exit';
import { compile } from './compile.cjs';
import { runInVm } from './vm/vm';

const { values } = parseArgs({
  options: {
    vm: { type: 'boolean', default: false },
    grep: { type: 'string', short: 'g', default: '' },
    reporter: { type: 'string', default: 'spec' },
    timeout: { type: 'string', default: '600' },
  },
});

const suite = [
  'node_modules/.bin/mocha',
  'test/process-ends/*.test.ts',
  '--grep',
  values.grep,
  '--reporter',
  values.reporter,
];

async function main(): Promise<number> {
  compile();
  if (!values.vm) {
    const [program = '', ...args] = suite;
    const env = { ...process.env, VFIO_DMABUF_KERNEL: 'fake' };
    return spawnSync(program, args, { stdio: 'inherit', env }).status ?? 1;
  }
  // Warnings in the kernel's log are failures, too.
  const quiet = '! dmesg | grep -E "WARNING:|BUG:|Oops|refcount_t"';
  return runInVm({
    machine: reference,
    command: ['bash', '-c', `"$@"; status=$?; ${quiet} && exit $status`, 'suite', ...suite],
    environment: { VFIO_DMABUF_KERNEL: 'system' },
    timeout: Number(values.timeout),
  });
}

exitWith(main());
