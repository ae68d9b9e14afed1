// How the cost of an operation grows with the number of objects that exist already.
import { Iommufd, VfioDevice, type DmaBuf, type Ioas, type IoasMapping } from '../../lib';
import { FakeKernel } from '../../lib/fake';

const page = 4096;
const start = 0x1_0000_0000;

interface Stage {
  ioas: Ioas;
  buffer: DmaBuf;
  ssd: VfioDevice;
  /** Maps a page of the buffer at the index's own IOVA. */
  mapAt: (index: number) => IoasMapping;
}

interface Operation {
  /** Makes objects from the number `from` to before `to`. */
  add: (stage: Stage, from: number, to: number) => void;
  /** Makes the measured calls while `count` objects exist, and leaves `count`. Returns the number of calls. */
  run: (stage: Stage, count: number) => number;
}

const calls = 200;

function addMappings({ mapAt }: Stage, from: number, to: number): void {
  for (let i = from; i < to; i += 1) mapAt(i);
}

/** The operations by their names. */
export const growing: Record<string, Operation> = {
  'map and unmap a dma-buf, among mappings': {
    add: addMappings,
    run: ({ mapAt }, count) => {
      for (let i = 0; i < calls; i += 1) mapAt(count + i).close();
      return calls;
    },
  },
  'unmap a range, among mappings': {
    add: addMappings,
    run: ({ ioas, mapAt }, count) => {
      for (let i = 0; i < calls; i += 1) {
        mapAt(count);
        ioas.unmap(start + count * page, page);
      }
      return calls;
    },
  },
  'look at the first mapping, among mappings': {
    add: addMappings,
    run: ({ ioas }) => {
      let seen = 0;
      for (let i = 0; i < calls; i += 1) {
        for (const mapping of ioas.eachMapping()) {
          seen += mapping.state === 'live' ? 1 : 0;
          break;
        }
        seen += ioas.mappingCount;
      }
      return seen > 0 ? calls : 0;
    },
  },
};

/** Microseconds for each call of each operation, at each number of objects: the least of several rounds. */
export function measureGrowth(counts: readonly number[], rounds = 5): Map<string, number[]> {
  const results = new Map<string, number[]>();
  for (const [name, { add, run }] of Object.entries(growing)) {
    const kernel = new FakeKernel();
    const iommufd = Iommufd.open({ kernel });
    const ssd = VfioDevice.openSync(kernel.addressOf('ssd'), { iommufd });
    ssd.command.memory = true;
    const ioas = iommufd.allocIoas();
    const buffer = ssd.exportDmaBuf({ region: 2, offset: 0, length: page });
    const stage = { ioas, buffer, ssd, mapAt: (i: number) => ioas.mapDmaBuf(buffer, { iova: start + i * page }) };
    const costs: number[] = [];
    let made = 0;
    for (let i = 0; i < 10; i += 1) run(stage, made); // compiles the code
    for (const count of counts) {
      add(stage, made, count);
      made = count;
      let best = Infinity;
      for (let round = 0; round < rounds; round += 1) {
        const before = process.hrtime.bigint();
        const number = run(stage, made);
        best = Math.min(best, Number(process.hrtime.bigint() - before) / 1000 / number);
      }
      costs.push(best);
    }
    results.set(name, costs);
    iommufd.close();
    kernel.close();
  }
  return results;
}
