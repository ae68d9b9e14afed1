// npm run bench: what the library itself costs on this machine's CPU, on the fake kernel. The fake's register accesses
// are calls into a model; its memory BAR is plain memory, so that reading it shows an accessor's own cost.
import { execFileSync } from 'node:child_process';
import { addressOf, reference } from '../lib/fake';
import { operations, parseTimes } from './bench/operations';

const tsx = 'node_modules/.bin/tsx';
const devices = [addressOf(reference, 'ssd'), addressOf(reference, 'engine')];
const env = { VFIO_DMABUF_KERNEL: 'fake', ...process.env };
const times = parseTimes(execFileSync(tsx, ['scripts/bench/bench.ts', ...devices], { encoding: 'utf8', env }));
for (const [name, title] of Object.entries(operations)) {
  console.log(`${title.padEnd(36)}${(times.get(name) ?? NaN).toFixed(0).padStart(8)} ns`);
}
