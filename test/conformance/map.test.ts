// Mapping into an IOAS, and unmapping.
import assert from 'node:assert/strict';
import { DmaMemory, type IoasMapping } from '../../lib';
import { openFile } from '../cleanup';
import { conforms, observe, refuses, unlessFailing } from './record';
import { cmb, MiB, page, useRig } from './rig';

describe('mapping a dma-buf', () => {
  const rig = useRig('ssd', 'engine');
  const buffer = (length = MiB) => rig.exported('ssd', cmb.region, length);

  beforeEach(() => rig.device('engine').attach(rig.ioas));

  conforms('goes where it is told', () => {
    const mapping = rig.ioas.mapDmaBuf(buffer(), { iova: 0x1000_0000n });
    assert.equal(observe(mapping.iova), 0x1000_0000n);
    assert.equal(observe(mapping.length), MiB);
    assert.equal(observe(mapping.state), 'live');
    assert.deepEqual(rig.ioas.mappings, [mapping]);
  });

  conforms('goes where the kernel finds room: aligned, lowest first, and not over the interrupt window', () => {
    observe(rig.ioas.mapDmaBuf(buffer()).iova);
    observe(rig.ioas.mapDmaBuf(buffer(page)).iova);
    observe(rig.ioas.mapDmaBuf(buffer(3n * page)).iova);
    observe(rig.ioas.mapDmaBuf(buffer(), { offset: page, length: page }).iova);
    observe(rig.ioas.mapDmaBuf(buffer(cmb.size)).iova);
  });

  conforms('takes safe integers for u64s', () =>
    assert.equal(observe(rig.ioas.mapDmaBuf(buffer(), { iova: 0x20_0000, offset: 4096, length: 8192 }).length), 8192n),
  );

  conforms('maps a part of the buffer', () => {
    const mapping = rig.ioas.mapDmaBuf(buffer(), { offset: 16n * page, length: 4n * page, iova: 0x40_0000n });
    assert.equal(observe(mapping.length), 4n * page);
    assert.equal(observe(rig.ioas.unmap(0x40_0000n, 4n * page)), 4n * page);
    assert.equal(observe(mapping.state), 'closed');
  });

  conforms('maps one buffer several times, and in several IOASes', () => {
    const exported = buffer();
    const other = rig.keep(rig.iommufd.allocIoas());
    rig.ioas.mapDmaBuf(exported, { iova: 0x10_0000n });
    rig.ioas.mapDmaBuf(exported, { iova: 0x20_0000n });
    observe(other.mapDmaBuf(exported, { iova: 0x10_0000n }).iova);
    assert.equal(observe(rig.ioas.unmap()), 2n * MiB);
  });

  conforms('outlives the fd', () => {
    const exported = buffer();
    const mapping = rig.ioas.mapDmaBuf(exported);
    exported.close();
    assert.equal(observe(mapping.state), 'live');
    mapping.close();
    assert.equal(observe(mapping.state), 'closed');
  });

  conforms('works while no device is attached', () => {
    const other = rig.keep(rig.iommufd.allocIoas());
    assert.equal(observe(other.mapDmaBuf(buffer(), { iova: 0n }).iova), 0n);
  });

  const mapAt = (iova: bigint) => () => rig.ioas.mapDmaBuf(buffer(), { iova });
  conforms('IOVAs that are taken: EEXIST', async () => {
    mapAt(0x100_0000n)();
    await refuses('EEXIST', mapAt(0x100_0000n));
    await refuses('EEXIST', mapAt(0x100_0000n - page));
    await refuses('EEXIST', mapAt(0x100_0000n + MiB - page));
  });
  conforms('a misaligned IOVA: EINVAL', () => refuses('EINVAL', mapAt(0x100_0100n)).then());
  conforms('a misaligned length: EINVAL', () =>
    refuses('EINVAL', () => rig.ioas.mapDmaBuf(buffer(), { iova: 0n, length: 100n })),
  );
  conforms('a misaligned offset: EINVAL', () =>
    refuses('EINVAL', () => rig.ioas.mapDmaBuf(buffer(), { iova: 0n, offset: 100n, length: page })),
  );
  conforms('IOVAs of the interrupt window: EINVAL', () => refuses('EINVAL', mapAt(0xfee0_0000n)).then());
  conforms('IOVAs beyond what the IOMMU translates: EINVAL', () => refuses('EINVAL', mapAt(1n << 39n)).then());
  conforms('IOVAs that overflow: EOVERFLOW', () => refuses('EOVERFLOW', mapAt(0xffff_ffff_ffff_f000n)).then());
  conforms('the last IOVA of all: EOVERFLOW', () => refuses('EOVERFLOW', mapAt(0xffff_ffff_ffff_ffffn)).then());

  conforms('past the end of the buffer never reaches the kernel', async () => {
    await refuses('ERR_OUT_OF_RANGE', () => rig.ioas.mapDmaBuf(buffer(), { length: 2n * MiB }));
    await refuses('ERR_OUT_OF_RANGE', () => rig.ioas.mapDmaBuf(buffer(), { offset: MiB }));
    await refuses('ERR_OUT_OF_RANGE', () => rig.ioas.mapDmaBuf(buffer(), { length: 0 }));
    await refuses('ERR_OUT_OF_RANGE', () => rig.ioas.mapDmaBuf(buffer(), { access: 'x' as 'r' }));
  });

  conforms('several ranges: EOPNOTSUPP', async () => {
    const ranges = [
      { offset: 0n, length: page },
      { offset: 4n * page, length: page },
    ];
    const exported = rig.keep(rig.device('ssd').exportDmaBuf({ region: cmb.region, ranges }));
    const error = await refuses('EOPNOTSUPP', () => rig.ioas.mapDmaBuf(exported));
    unlessFailing(() => assert.match(error.message, /2 ranges/));
  });

  conforms('a udmabuf: EOPNOTSUPP', async () => {
    const exported = rig.keep(rig.keep(DmaMemory.alloc(65536)).exportDmaBuf());
    await refuses('EOPNOTSUPP', () => rig.ioas.mapDmaBuf(exported));
  });

  conforms('a closed buffer or IOAS: ERR_CLOSED', async () => {
    const exported = buffer();
    exported.close();
    await refuses('ERR_CLOSED', () => rig.ioas.mapDmaBuf(exported));
    const ioas = rig.iommufd.allocIoas();
    ioas.close();
    await refuses('ERR_CLOSED', () => ioas.mapDmaBuf(buffer()));
  });

  describe('unmapping', () => {
    const map = (iova: bigint) => rig.ioas.mapDmaBuf(buffer(), { iova });
    const states = (mappings: IoasMapping[]) => observe(mappings.map(({ state }) => state));

    conforms('takes all mappings inside the range, and says how many bytes', () => {
      const mappings = [map(0x10_0000n), map(0x30_0000n), map(0x50_0000n)];
      assert.equal(observe(rig.ioas.unmap(0n, 0x40_0000n)), 2n * MiB);
      assert.deepEqual(states(mappings), ['closed', 'closed', 'live']);
    });

    conforms('a range that cuts a mapping: ENOENT, and the mapping stays', async () => {
      const mapping = map(0x10_0000n);
      await refuses('ENOENT', () => rig.ioas.unmap(0x10_0000n, page));
      await refuses('ENOENT', () => rig.ioas.unmap(0x18_0000n, 0x10_0000n));
      assert.deepEqual(states([mapping]), ['live']);
    });

    conforms('what lies before a cut is unmapped', async () => {
      const mappings = [map(0x10_0000n), map(0x30_0000n)];
      await refuses('ENOENT', () => rig.ioas.unmap(0n, 0x38_0000n));
      assert.deepEqual(states(mappings), ['closed', 'live']);
      assert.equal(observe(rig.ioas.unmap()), MiB);
    });

    conforms('frees the IOVAs', () => {
      map(0x10_0000n).close();
      assert.equal(observe(map(0x10_0000n).state), 'live');
    });

    conforms('twice is no error', () => {
      const mapping = map(0x10_0000n);
      mapping.close();
      mapping.close();
      assert.equal(observe(mapping.state), 'closed');
    });
  });
});

describe('mapping host memory', () => {
  const rig = useRig('engine');
  const memory = (size = 65536) => rig.keep(DmaMemory.alloc(size));

  beforeEach(() => rig.device('engine').attach(rig.ioas));

  conforms('by address, at a given IOVA', async () => {
    const mapping = await rig.ioas.mapMemory(memory(), { iova: 0x1000_0000n });
    assert.equal(observe(mapping.iova), 0x1000_0000n);
    assert.equal(observe(mapping.length), 65536n);
  });

  conforms('by address, waiting', () =>
    assert.equal(observe(rig.ioas.mapMemorySync(memory(), { iova: 0x1000_0000n, access: 'r' }).state), 'live'),
  );

  conforms('a part of it', async () => {
    const mapping = await rig.ioas.mapMemory(memory(), { iova: 0n, offset: 4096, length: 8192 });
    assert.equal(observe(mapping.length), 8192n);
  });

  conforms('misaligned: EINVAL', async () => {
    await refuses('EINVAL', () => rig.ioas.mapMemory(memory(), { iova: 0n, offset: 1, length: 4096 }));
    await refuses('EINVAL', () => rig.ioas.mapMemory(memory(), { iova: 1n }));
    await refuses('EINVAL', () => rig.ioas.mapMemory(memory(), { iova: 0n, length: 1 }));
  });

  conforms('IOVAs that are taken: EEXIST', async () => {
    await rig.ioas.mapMemory(memory(), { iova: 0x10_0000n });
    await refuses('EEXIST', () => rig.ioas.mapMemory(memory(), { iova: 0x10_0000n }));
    await refuses('EEXIST', () => rig.ioas.mapMemorySync(memory(), { iova: 0x10_0000n }));
  });

  conforms('cannot be mapped again: nobody revokes it', async () => {
    const mapping = await rig.ioas.mapMemory(memory());
    await refuses('ERR_NOT_REMAPPABLE', () => mapping.remap());
  });

  conforms('stays mapped when the memory is closed', async () => {
    const own = rig.keep(DmaMemory.alloc(4096));
    const mapping = await rig.ioas.mapMemory(own);
    own.close();
    assert.equal(observe(mapping.state), 'live');
    await refuses('ERR_CLOSED', () => rig.ioas.mapMemory(own));
  });

  conforms('as a memfd', async () => {
    const own = memory();
    const mapping = await rig.ioas.mapFile(own.fd, { iova: 0x10_0000n, length: own.size });
    assert.equal(observe(mapping.length), 65536n);
    assert.equal(
      observe(rig.ioas.mapFileSync(own.fd, { iova: 0x20_0000n, offset: 8192, length: 4096 }).iova),
      0x20_0000n,
    );
  });

  conforms('a memfd past its end: EINVAL', () =>
    refuses('EINVAL', () => rig.ioas.mapFile(memory().fd, { iova: 0n, length: 131072 })),
  );

  conforms('a file that is no memfd: EINVAL', async () => {
    const file = openFile('/proc/self/exe');
    await refuses('EINVAL', () => rig.ioas.mapFile(file, { iova: 0n, length: 4096, access: 'r' }));
  });

  conforms('longer than any hole, where the kernel is to choose: ENOSPC', () =>
    refuses('ENOSPC', () => rig.ioas.mapFile(memory().fd, { length: 1n << 40n })),
  );

  conforms('a dma-buf is no file for mapFile', async () => {
    using buffer = memory().exportDmaBuf();
    await refuses('ERR_IS_DMA_BUF', () => rig.ioas.mapFile(buffer.fd, { length: 4096 }));
  });

  conforms('a number that is no fd: EBADF', () =>
    refuses('EBADF', () => rig.ioas.mapFile(0x7fff_0000, { length: 4096 })),
  );

  conforms('a memfd of which the IOVAs overflow: EOVERFLOW', () =>
    refuses('EOVERFLOW', () => rig.ioas.mapFile(memory().fd, { iova: 0xffff_ffff_ffff_f000n, length: 8192 })),
  );

  conforms('an offset that overflows never reaches the kernel', async () => {
    const offset = 0xffff_ffff_ffff_f000n;
    await refuses('ERR_OUT_OF_RANGE', () => rig.ioas.mapFile(memory().fd, { iova: 0n, offset, length: 0x2000n }));
  });
});
