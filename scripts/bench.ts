// npm run bench [-- --json]: measures the library's own cost on this machine's CPU, on the fake kernel.
import { parseArgs } from 'node:util';
import { measureOnFake } from './bench/on-fake';
import { emptyLoop, operations, row } from './bench/operations';

const { values } = parseArgs({ options: { json: { type: 'boolean', default: false } } });
const times = measureOnFake();
if (values.json) {
  console.log(
    JSON.stringify({ kernel: 'fake', node: process.version, nanoseconds: Object.fromEntries(times) }, null, 2),
  );
} else {
  for (const [name, title] of Object.entries({ ...operations, ...emptyLoop })) {
    console.log(row(title, `${(times.get(name) ?? NaN).toFixed(1)} ns`));
  }
  console.log(`\nOn the fake kernel, no hardware, Node ${process.version}; medians. No bus is in these times: the calls
to the kernel are calls into the fake, which works too, and a memory BAR is the CPU's own memory.`);
}
