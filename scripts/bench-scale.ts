// npm run bench:scale [-- --most NUMBER] [--json] [FILE.svg]: draws the cost of operations against the number of objects that
// exist already, from 100 on, on the fake kernel.
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { chart } from './bench/chart';
import { measureGrowth } from './bench/growth';

const { values, positionals } = parseArgs({
  options: { most: { type: 'string', default: '1000000' }, json: { type: 'boolean', default: false } },
  allowPositionals: true,
});
const counts: number[] = [];
for (let count = 100; count <= Number(values.most); count *= 10) counts.push(count);
const costs = measureGrowth(counts);
const [file = 'growth.svg'] = positionals;
writeFileSync(file, chart(`The fake kernel, Node ${process.version}: time of a call`, counts, costs));
if (values.json) {
  console.log(JSON.stringify({ counts, microseconds: Object.fromEntries(costs) }, null, 2));
} else {
  for (const [name, line] of costs) {
    console.log(`${name.padEnd(44)}${line.map((cost) => `${cost.toFixed(2)} µs`.padStart(12)).join('')}`);
  }
  console.log(`${file}: drawn, with ${counts.map(String).join(', ')} objects`);
}
