// Worker threads that open, map, reset and close the same devices for a while.
//   node --expose-gc threads.js THREADS SECONDS SEED
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { Iommufd, VfioDevice } from '../../lib';
import { addressOf, FakeKernel, reference } from '../../lib/fake';
import { growth, row, takeSample } from './sample';
import { Offers } from './offers';
import type { Tally, Work } from './worker';

const [threads = 0, seconds = 0, seed = 0] = process.argv.slice(2).map(Number);
// Bounds for the process after its threads have ended. Their heap arenas and code stay allocated.
const MiB = 1 << 20;
const bounds = { rss: 32 * MiB, heap: MiB, external: MiB / 4, fds: 0, kernel: Infinity };
const stuckAfter = 60; // seconds without a step of any thread

const kernel = process.env['VFIO_DMABUF_KERNEL'] === 'system' ? undefined : new FakeKernel();

async function run(duration: number): Promise<Tally[]> {
  const offers = Offers.allocate(3);
  const shared = new SharedArrayBuffer(4 * (1 + threads));
  const words = new Int32Array(shared);
  const workers = Array.from({ length: threads }, (_, index) => {
    const workerData: Work = { index, seed, seconds: duration, token: kernel?.token, offers, shared };
    return new Worker(join(__dirname, 'worker.js'), { workerData });
  });
  let before = [...words];
  const watch = setInterval(() => {
    const now = [...words];
    const stuck = now.findIndex((steps, i) => i > 0 && steps === before[i]);
    if (stuck > 0 && tallies.length < threads) {
      console.log(`FAILED: thread ${String(stuck - 1)} is stuck; counts ${now.join(' ')}`);
      process.abort(); // leaves a core dump
    }
    before = now;
  }, 1000 * stuckAfter);
  const tallies: Tally[] = [];
  await Promise.all(
    workers.map(async (worker) => {
      const [[tally]] = (await Promise.all([once(worker, 'message'), once(worker, 'exit')])) as [[Tally], unknown];
      tallies.push(tally);
    }),
  );
  clearInterval(watch);
  return tallies;
}

function print(tallies: readonly Tally[]): void {
  const names = [...new Set(tallies.flatMap((tally) => Object.keys(tally)))].sort();
  for (const name of names) {
    const counts = tallies.map((tally) => String(tally[name] ?? 0).padStart(8));
    console.log(`  ${name.padEnd(42)}${counts.join('')}`);
  }
}

async function main(): Promise<number> {
  console.log(`${String(threads)} threads, ${String(seconds)} s, seed ${String(seed)}`);
  await run(Math.min(5, seconds / 4));
  const start = await takeSample();
  console.log(row('after the warm-up', start));
  const tallies = await run(seconds);
  const end = await takeSample();
  console.log(row('at the end', end));
  print(tallies);
  if (kernel) assert.equal(kernel.openFiles, 0);
  // No thread has the devices open now.
  using iommufd = Iommufd.open(kernel ? { kernel } : {});
  for (const role of ['engine', 'ssd', 'display']) VfioDevice.openSync(addressOf(reference, role), { iommufd });
  const failures = growth(start, end, bounds);
  for (const failure of failures) console.log(`FAILED: ${failure}`);
  return failures.length > 0 ? 1 : 0;
}

void main().then((status) => {
  kernel?.close();
  process.exitCode = status;
});
