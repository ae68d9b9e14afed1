// An IOAS with many mappings: ranges of them, iteration, and looking at them after a reset.
import assert from 'node:assert/strict';
import { setImmediate as turn } from 'node:timers/promises';
import { Iommufd, VfioDevice, type Ioas, type DmaBuf } from '../../lib';
import { FakeKernel } from '../../lib/fake';
import { ByIova } from '../../lib/iommufd/by-iova';
import { Random } from '../long/fuzz/random';

const page = 4096;

describe('many mappings', function () {
  this.timeout(60_000);
  let kernel: FakeKernel;
  let iommufd: Iommufd;
  let ssd: VfioDevice;
  let ioas: Ioas;
  let buffer: DmaBuf;

  beforeEach(() => {
    kernel = new FakeKernel();
    iommufd = Iommufd.open({ kernel });
    ssd = VfioDevice.openSync(kernel.addressOf('ssd'), { iommufd });
    ssd.command.memory = true;
    ioas = iommufd.allocIoas();
    buffer = ssd.exportDmaBuf({ region: 2, offset: 0, length: page });
  });
  afterEach(() => {
    iommufd.close();
    kernel.close();
  });

  const mapAt = (index: number, autoRemap = false) =>
    ioas.mapDmaBuf(buffer, { iova: 0x100_0000 + page * index, autoRemap });

  it('are found by range, as by a search of all', () => {
    const random = new Random(7);
    let ranges: { iova: bigint; length: bigint }[] = [];
    const index = new ByIova(ranges);
    for (let i = 0; i < 5000; i += 1) {
      const iova = BigInt(random.below(4000)) * 4n;
      const old = ranges.find((range) => range.iova === iova);
      if (old) {
        index.delete(old);
        ranges = ranges.filter((range) => range !== old);
      } else {
        const range = { iova, length: BigInt(1 + random.below(4)) };
        index.add(range);
        ranges.push(range);
      }
      if (i % 50 !== 0) continue;
      const [first, end] = [BigInt(random.below(16_000)), BigInt(random.below(16_000))];
      const wanted = ranges
        .filter((range) => range.iova < end && range.iova + range.length > first)
        .sort((a, b) => Number(a.iova - b.iova));
      assert.deepEqual(index.within(first, end), first < end ? wanted : index.within(first, end));
      assert.deepEqual(new ByIova(ranges).within(0n, 20_000n), index.within(0n, 20_000n));
    }
    assert(ranges.length > 1000);
  });

  it('are unmapped by range, while others come and go', () => {
    const mappings = Array.from({ length: 2000 }, (_, i) => mapAt(i));
    assert.equal(ioas.unmap(0x100_0000 + 10 * page, 20 * page), BigInt(20 * page));
    assert.deepEqual(
      mappings.flatMap(({ state }, i) => (state === 'closed' ? [i] : [])),
      Array.from({ length: 20 }, (_, i) => 10 + i),
    );
    for (const [i, mapping] of mappings.entries()) if (i % 3 === 0) mapping.close();
    const again = mapAt(12);
    assert.equal(ioas.mappingCount, ioas.mappings.length);
    ioas.unmap(0x100_0000 + 9 * page, 4 * page);
    assert.equal(again.state, 'closed');
    assert.equal(mappings[31]?.state, 'live');
    ioas.unmap();
    assert.equal(ioas.mappingCount, 0);
    assert(mappings.every(({ state }) => state === 'closed'));
  });

  it('are iterated over while the loop closes them', () => {
    const mappings = Array.from({ length: 100 }, (_, i) => mapAt(i));
    const seen: number[] = [];
    for (const mapping of ioas.eachMapping()) {
      seen.push(mappings.indexOf(mapping));
      if (seen.length % 2 === 0) mapping.close();
      if (seen.length === 7) ioas.unmap(0x100_0000 + 50 * page, 10 * page);
    }
    const left = Array.from({ length: 100 }, (_, i) => i).filter((i) => i < 50 || i >= 60);
    assert.deepEqual(seen, left);
    assert.equal(ioas.mappingCount, mappings.filter(({ state }) => state !== 'closed').length);
  });

  it('are restored after a reset in slices, and the event loop runs in between', async () => {
    const count = 20_000;
    const mappings = Array.from({ length: count }, (_, i) => mapAt(i, true));
    let [restored, turns] = [0, 0];
    const progress: number[] = [];
    ioas.on('restored', () => (restored += 1));
    ioas.on('progress', (left, total) => {
      progress.push(left);
      assert(total <= count);
    });
    const counted = setInterval(() => (turns += 1), 0);
    ssd.resetSync();
    assert(restored < count, 'not all at once');
    mappings.splice(0, 1000).forEach((mapping) => mapping.close());
    while (progress.at(-1) !== 0 && turns < 10_000) await turn();
    clearInterval(counted);
    assert(turns > 2, String(turns));
    assert(progress.length > 2, String(progress));
    assert.deepEqual(
      progress,
      [...progress].sort((a, b) => b - a),
    );
    assert(mappings.every(({ state }) => state === 'live'));
  });
});
