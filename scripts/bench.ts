// npm run bench [-- --json]: measures the library's own cost on this machine's CPU, on the fake kernel.
// npm run bench -- --growth: only checks that the cost of a call hardly depends on the number of objects. Fails otherwise.
import { parseArgs } from 'node:util';
import { measureGrowth } from './bench/growth';
import { measureOnFake } from './bench/on-fake';
import { emptyLoop, operations, row } from './bench/operations';

/**
 * The largest ratio of a call's cost among 100,000 objects to that among 1,000. O(log n) gives 1.7, and caches that are too
 * small for the objects add to it; O(n) gives 100.
 */
const mostGrowth = 10;

function checkGrowth(): boolean {
  let good = true;
  for (const [name, [few = NaN, many = NaN]] of measureGrowth([1000, 100_000])) {
    const grows = !(many / few <= mostGrowth);
    console.log(
      `${grows ? 'FAILED' : 'ok'}: ${name}: ${(many / few).toFixed(2)} times the cost among 100 times as many`,
    );
    if (grows) good = false;
  }
  return good;
}

function measure(json: boolean): void {
  const times = measureOnFake();
  if (json) {
    console.log(
      JSON.stringify({ kernel: 'fake', node: process.version, nanoseconds: Object.fromEntries(times) }, null, 2),
    );
    return;
  }
  for (const [name, title] of Object.entries({ ...operations, ...emptyLoop })) {
    console.log(row(title, `${(times.get(name) ?? NaN).toFixed(1)} ns`));
  }
  console.log(`\nOn the fake kernel, no hardware, Node ${process.version}; medians. No bus is in these times: the calls
to the kernel are calls into the fake, which works too, and a memory BAR is the CPU's own memory.`);
}

const { values } = parseArgs({
  options: { json: { type: 'boolean', default: false }, growth: { type: 'boolean', default: false } },
});
if (!values.growth) measure(values.json);
else if (!checkGrowth()) process.exitCode = 1;
