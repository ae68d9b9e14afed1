// npm run test:bind: takes devices from their drivers and gives them back on a real kernel (test/bind/on-kernel.ts).
import { addressOf, reference } from '../lib/fake';
import { exitWith } from './exit';
import { runInVm } from './vm/vm';

const addresses = ['disk', 'physical', 'engine'].map((role) => addressOf(reference, role));

exitWith(
  runInVm({
    machine: reference,
    command: ['node', '--import=tsx', 'test/bind/on-kernel.ts', ...addresses],
    vfio: [],
    timeout: 900,
  }),
);
