// Repeats the same operations. Memory and fds must not grow after the first cycles.
//   node --expose-gc cycles.js CYCLES [kernel]     with 'kernel', the kernel's own memory must not grow, either
import { setImmediate as turn } from 'node:timers/promises';
import { DmaMemory, Iommufd, VfioDevice } from '../../lib';
import { addressOf, reference } from '../../lib/fake';
import { growth, row, takeSample } from './sample';

const MiB = 1 << 20;
const rounds = 10;
// Cycles in each turn of the event loop. Finalizers run between turns.
const atOnce = 1000;
const slow = 50;
// A leak of 5 bytes in each of a million cycles exceeds these.
const bounds = { rss: 4 * MiB, heap: MiB, external: MiB / 4, fds: 0 };

const cycles = Number(process.argv[2]);
const watchesKernel = process.argv[3] === 'kernel';

async function main(): Promise<number> {
  using iommufd = Iommufd.open();
  using ioas = iommufd.allocIoas();
  using ssd = VfioDevice.openSync(addressOf(reference, 'ssd'), { iommufd });
  using engine = VfioDevice.openSync(addressOf(reference, 'engine'), { iommufd });
  engine.attachSync(ioas);
  const cmb = { region: 2, offset: 0n, length: BigInt(MiB) };
  using buffer = ssd.exportDmaBuf(cmb);

  // The operations, each with its share of the cycles.
  const operations: [title: string, share: number, run: () => unknown][] = [
    ['map and unmap a dma-buf', 1, () => ioas.mapDmaBuf(buffer, { iova: 0x1000_0000n }).close()],
    ['export and close', 0.1, () => ssd.exportDmaBuf(cmb).close()],
    [
      'map a region and close',
      0.05,
      () => {
        const registers = engine.region(0).map();
        registers.read32(0);
        registers.close();
      },
    ],
    [
      'memory: allocate, map, close',
      0.02,
      () => {
        const memory = DmaMemory.alloc(16_384);
        new Uint8Array(memory.buffer)[0] = 1;
        ioas.mapMemorySync(memory).close();
        memory.close();
      },
    ],
    ['reset', 0.001, () => ssd.reset()],
    [
      'open, bind, attach, close',
      0.001,
      async () => {
        using display = await VfioDevice.open(addressOf(reference, 'display'), { iommufd });
        await display.attach(ioas);
      },
    ],
  ];

  async function turnAll(count: number, times?: Map<string, number>): Promise<void> {
    for (const [title, share, run] of operations) {
      const start = performance.now();
      const isSlow = share < 0.01;
      for (let i = 0; i < Math.ceil(count * share); i += 1) {
        if (isSlow) await run();
        else void run();
        if (i % (isSlow ? slow : atOnce) === 0) await turn();
      }
      times?.set(title, (times.get(title) ?? 0) + performance.now() - start);
    }
  }

  const times = new Map<string, number>();
  for (let round = 0; round < 2; round += 1) await turnAll(cycles / rounds);
  await takeSample();
  const start = await takeSample();
  console.log(row('after the warm-up', start));
  let end = start;
  for (let round = 0; round < rounds; round += 1) {
    await turnAll(cycles / rounds, times);
    end = await takeSample();
    console.log(row(`${String(((round + 1) * cycles) / rounds)} cycles`, end));
  }
  for (const [title, share] of operations) {
    const count = rounds * Math.ceil((cycles / rounds) * share);
    const each = (1e3 * (times.get(title) ?? 0)) / count;
    console.log(`  ${String(count).padStart(8)} × ${title}: ${each.toFixed(1)} µs each`);
  }
  const kernel = watchesKernel ? 8 * MiB : Infinity;
  const failures = growth(start, end, { ...bounds, kernel });
  for (const failure of failures) console.log(`FAILED: ${failure}`);
  return failures.length > 0 ? 1 : 0;
}

void main().then((status) => (process.exitCode = status));
