// A fake device writes to huge pages.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { DmaMemory, Iommufd, VfioDevice } from '../../lib';
import { FakeKernel } from '../../lib/fake';
import type { Need } from '../needs';

const size = 2 << 20;
const iova = 0x20_0000n;
const buffer = 0x4_0000n; // of the engine

const hugePages: Need = () => {
  const free = '/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages';
  try {
    if (Number(readFileSync(free, 'utf8')) > 0) return undefined;
  } catch {
    // no such file: the kernel has no huge pages
  }
  return 'no huge page is free (echo 8 > /proc/sys/vm/nr_hugepages)';
};

// Continuous integration has no huge pages: a conformance case finds out that there are none.
const missing = hugePages();
const itHuge = (title: string, body: () => void) =>
  missing === undefined ? it(title, body) : it.skip(`${title} (skipped: ${missing})`);

describe('huge pages', () => {
  for (const how of ['by address', 'as a memfd']) {
    itHuge(`are written by a device, mapped ${how}`, () => {
      using kernel = new FakeKernel();
      using iommufd = Iommufd.open({ kernel });
      using ioas = iommufd.allocIoas();
      using device = VfioDevice.openSync(kernel.addressOf('engine'), { iommufd });
      device.attachSync(ioas);
      device.command.busMaster = true;
      device.command.memory = true;
      using memory = DmaMemory.alloc(size, { kernel, hugePages: '2M' });
      using mapping =
        how === 'by address'
          ? ioas.mapMemorySync(memory, { iova })
          : ioas.mapFileSync(memory.fd, { length: BigInt(size), iova });
      const bytes = new Uint8Array(memory.buffer);
      bytes[0] = 77;
      using registers = device.region(0).map();
      const copy = (from: bigint, to: bigint, command: bigint) => {
        registers.write64(0x80, from);
        registers.write64(0x88, to);
        registers.write64(0x90, 16n);
        registers.write64(0x98, command);
      };
      copy(mapping.iova, buffer, 1n);
      copy(buffer, mapping.iova + 2048n, 3n);
      assert.equal(bytes[2048], 77);
      assert.deepEqual(kernel.takeFaults(), []);
    });
  }
});
