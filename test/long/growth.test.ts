// Compares the time of 16 n operations with that of n: it must not be much more than 16 times as long. The ratio does
// not depend on the machine's speed.
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { DmaMemory, Iommufd, VfioDevice, type IoasMapping } from '../../lib';
import { FakeKernel } from '../../lib/fake';
import { itNeeds, openFiles } from '../needs';

const factor = 16;
/** With a quadratic cost the ratio would be 256. */
const most = 64;

/** Nanoseconds of CPU time of this process. */
function cost(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

/**
 * Asserts the bound for `work(n)`, which must restore the initial state. Uses the best of three runs, as other
 * processes interfere.
 */
function grows(n: number, work: (count: number) => void): void {
  work(n); // compiles the code
  const best = (count: number) => Math.min(...Array.from({ length: 3 }, () => cost(() => work(count))));
  const [few, many] = [best(n), best(factor * n)];
  assert(many < most * Math.max(few, 1000), `${String(n)}: ${String(few)} us, 16 times as many: ${String(many)} us`);
}

describe('the cost of many', function () {
  this.timeout(120_000);
  let kernel: FakeKernel;
  let iommufd: Iommufd;
  let ssd: VfioDevice;

  beforeEach(() => {
    kernel = new FakeKernel();
    iommufd = Iommufd.open({ kernel });
    ssd = VfioDevice.openSync(kernel.addressOf('ssd'), { iommufd });
    ssd.command.memory = true;
  });
  afterEach(() => {
    iommufd.close();
    kernel.close();
  });

  it('mappings of one dma-buf, at IOVAs that the kernel chooses', () => {
    using buffer = ssd.exportDmaBuf({ region: 2, offset: 0, length: 4096 });
    grows(500, (count) => {
      using ioas = iommufd.allocIoas();
      for (let i = 0; i < count; i += 1) ioas.mapDmaBuf(buffer);
    });
  });

  it('mappings in the holes that others left', () => {
    using buffer = ssd.exportDmaBuf({ region: 2, offset: 0, length: 8192 });
    grows(300, (count) => {
      using ioas = iommufd.allocIoas();
      const mappings = Array.from({ length: count }, () => ioas.mapDmaBuf(buffer, { length: 4096 }));
      for (const [i, mapping] of mappings.entries()) if (i % 2 === 0) mapping.close();
      for (let i = 0; i < count / 2; i += 1) ioas.mapDmaBuf(buffer); // too large for these holes
      for (let i = 0; i < count / 2; i += 1) ioas.mapDmaBuf(buffer, { length: 4096 });
    });
  });

  it('closing mappings one by one, first to last', () => {
    using buffer = ssd.exportDmaBuf({ region: 2, offset: 0, length: 4096 });
    grows(500, (count) => {
      using ioas = iommufd.allocIoas();
      const mappings: IoasMapping[] = Array.from({ length: count }, () => ioas.mapDmaBuf(buffer));
      for (const mapping of mappings) mapping.close();
    });
  });

  it('unmapping ranges, one by one', () => {
    using buffer = ssd.exportDmaBuf({ region: 2, offset: 0, length: 4096 });
    grows(500, (count) => {
      using ioas = iommufd.allocIoas();
      for (let i = 0; i < count; i += 1) ioas.mapDmaBuf(buffer, { iova: 0x10_0000 + 4096 * i });
      for (let i = 0; i < count; i += 1) ioas.unmap(0x10_0000 + 4096 * i, 4096);
    });
  });

  itNeeds([openFiles(1024)], 'closing dma-bufs with many fds open', () => {
    const files: number[] = [];
    try {
      const work = (count: number) => {
        while (files.length < count) files.push(openSync('/dev/null', 'r'));
        for (let i = 0; i < 200; i += 1) ssd.exportDmaBuf({ region: 2, offset: 0, length: 4096 }).close();
      };
      const [few, many] = [50, 800].map((count) => {
        work(count);
        return Math.min(...Array.from({ length: 3 }, () => cost(() => work(count))));
      }) as [number, number];
      assert(many < 3 * Math.max(few, 1000), `50 fds: ${String(few)} us, 800: ${String(many)} us`);
    } finally {
      for (const fd of files) closeSync(fd);
    }
  });

  it('exporting and closing dma-bufs, and a reset then', () => {
    grows(200, (count) => {
      for (let i = 0; i < count; i += 1) ssd.exportDmaBuf({ region: 2, offset: 0, length: 4096 }).close();
      ssd.resetSync();
    });
  });

  it('dma-bufs that are revoked while they are mapped, and mapped again', () => {
    using buffer = ssd.exportDmaBuf({ region: 2, offset: 0, length: 4096 });
    grows(200, (count) => {
      using ioas = iommufd.allocIoas();
      const mappings = Array.from({ length: count }, () => ioas.mapDmaBuf(buffer));
      ssd.resetSync();
      for (const mapping of mappings) {
        assert.equal(mapping.state, 'revoked');
        mapping.remap();
      }
    });
  });

  itNeeds([openFiles(4096)], 'host memory, mapped and unmapped', () => {
    using memory = DmaMemory.alloc(4096, { kernel });
    grows(200, (count) => {
      using ioas = iommufd.allocIoas();
      for (let i = 0; i < count; i += 1) ioas.mapMemorySync(memory);
    });
  });
});
