// VFIO containers of type 1, the older interface: information about the IOMMU, and mappings.
import assert from 'node:assert/strict';
import { DmaMemory, VfioContainer, VfioDevice } from '../../lib';
import { addressOf, reference } from '../../lib/fake';
import { ContainerRig, useContainer } from './container-rig';
import { conforms, observe, refuses } from './record';
import { barBytes, MiB, page, vram } from './rig';

describe('a container without groups', () => {
  const rig = new ContainerRig([]);
  beforeEach(() => rig.start());
  afterEach(() => rig.stop());

  conforms('has version 0, and tells what the kernel can do', () => {
    assert.equal(observe(rig.container.apiVersion()), 0);
    const names = [
      'TYPE1_IOMMU',
      'TYPE1v2_IOMMU',
      'DMA_CC_IOMMU',
      'NOIOMMU_IOMMU',
      'UNMAP_ALL',
      'UPDATE_VADDR',
    ] as const;
    observe(names.map((name) => [name, rig.container.checkExtension(name)]));
  });

  conforms('has no IOMMU, and can have none: EINVAL', async () => {
    const memory = rig.keep(DmaMemory.alloc(4096));
    await refuses('EINVAL', () => rig.container.setIommu());
    await refuses('EINVAL', () => rig.container.setIommuSync('TYPE1'));
    await refuses('EINVAL', () => rig.container.info());
    await refuses('EINVAL', () => rig.container.mapMemory(memory, { iova: 0n }));
    await refuses('EINVAL', () => rig.container.mapMemory(memory));
    await refuses('EINVAL', () => rig.container.unmap());
    await refuses('EINVAL', () => rig.container.unmap(0, 4096));
    await refuses('EINVAL', () => rig.container.startDirtyTracking());
    assert.equal(rig.container.iommu, undefined);
  });

  conforms('that does not exist: ENOENT', () =>
    refuses('ENOENT', () => VfioContainer.open({ path: '/dev/vfio/none' })),
  );

  conforms('throws ERR_CLOSED from everything after close', async () => {
    const { container } = rig;
    const memory = rig.keep(DmaMemory.alloc(4096));
    container.close();
    container.close();
    await container[Symbol.asyncDispose]();
    assert(container.closed);
    for (const call of [
      () => container.fd,
      () => container.apiVersion(),
      () => container.checkExtension('UNMAP_ALL'),
      () => container.info(),
      () => container.setIommu(),
      () => container.mapMemory(memory),
      () => container.unmap(),
      () => container.unmapDirty(0, 4096),
      () => container.dirtyPages(0, 4096),
      () => container.invalidateAddresses(),
    ]) {
      await refuses('ERR_CLOSED', call);
    }
  });
});

describe('the IOMMU of a container', () => {
  const rig = useContainer('engine');

  conforms('tells page sizes, IOVAs and how many mappings there can be', () => {
    const info = observe(rig.container.info());
    assert.equal(info.pageSizes[0], page);
    assert.equal(info.dmaAvailable, 65535);
    assert.equal(info.dirtyTracking?.pageSizes[0], page);
    assert.deepEqual(info.capabilities, []);
  });

  conforms('tells extensions that it did not know before', () => {
    observe((['DMA_CC_IOMMU', 'UPDATE_VADDR'] as const).map((name) => rig.container.checkExtension(name)));
  });

  conforms('is set once: EINVAL', async () => {
    assert.equal(rig.container.iommu, 'TYPE1v2');
    await refuses('EINVAL', () => rig.container.setIommu());
    await refuses('ERR_OUT_OF_RANGE', () => rig.container.setIommu('TYPE9' as never));
  });

  conforms('narrows its IOVAs with every group, and goes with the last', async () => {
    observe(rig.container.info().iovaRanges);
    const ssd = await rig.add('ssd');
    observe(rig.container.info().iovaRanges);
    ssd.close();
    observe(rig.container.info().iovaRanges);
    rig.device('engine').close();
    assert.equal(rig.container.iommu, undefined);
    await refuses('EINVAL', () => rig.container.info());
  });

  conforms('takes what is mapped along when it goes', async () => {
    const { iova } = await rig.memory();
    const [mapping] = rig.container.mappings;
    assert.equal(mapping?.iova, iova);
    rig.device('engine').close();
    assert(mapping.closed);
    assert.deepEqual(rig.container.mappings, []);
    mapping.close();
    await rig.add('engine');
    assert.equal(observe(rig.container.info().dmaAvailable), 65535);
  });
});

describe('host memory in a container', () => {
  const rig = useContainer('engine');

  conforms('is where a device reads and writes', async () => {
    const { bytes, iova } = await rig.memory();
    const edu = rig.engine();
    await edu.copy(iova, iova + page, 512);
    assert.deepEqual(bytes.subarray(4096, 4608), bytes.subarray(0, 512));
    assert.equal(observe(rig.container.info().dmaAvailable), 65534);
  });

  conforms('is where the caller wants it, or in the lowest hole', async () => {
    const at = [];
    for (const iova of [undefined, undefined, 0x10_0000n, undefined]) at.push((await rig.memory(8192, iova)).iova);
    assert.deepEqual(observe(at), [page, 3n * page, 0x10_0000n, 5n * page]);
    const large = rig.keep(DmaMemory.alloc(4 * Number(MiB)));
    assert.equal(observe(rig.container.mapMemorySync(large).iova) % (2n * MiB), 0n);
  });

  conforms('can be a part of what was allocated', async () => {
    const memory = rig.keep(DmaMemory.alloc(16384));
    Buffer.from(memory.buffer).fill('here', 8192, 8196);
    const mapping = await rig.container.mapMemory(memory, { iova: MiB, offset: 8192, length: 4096 });
    assert.equal(mapping.length, page);
    const edu = rig.engine();
    await edu.load(MiB, 4);
    const { bytes, iova } = await rig.memory();
    await edu.store(iova, 4);
    assert.equal(bytes.toString('latin1', 0, 4), 'here');
  });

  conforms('stays mapped after it is closed, until it is unmapped', async () => {
    using memory = DmaMemory.alloc(4096);
    Buffer.from(memory.buffer).fill('kept', 0, 4);
    const mapping = await rig.container.mapMemory(memory, { iova: MiB });
    memory.close();
    const edu = rig.engine();
    const { bytes, iova } = await rig.memory();
    await edu.copy(MiB, iova, 4);
    assert.equal(bytes.toString('latin1', 0, 4), 'kept');
    mapping.close();
    mapping.close();
    assert(mapping.closed);
  });

  conforms('that is mapped for reading only is not written', async () => {
    const memory = rig.keep(DmaMemory.alloc(4096));
    const bytes = Buffer.from(memory.buffer);
    await rig.container.mapMemory(memory, { iova: MiB, access: 'r' });
    const edu = rig.engine();
    await edu.load(MiB, 16);
    bytes.fill(0xaa);
    await edu.store(MiB, 16);
    assert.equal(bytes[0], 0xaa);
  });

  conforms('does not overlap: EEXIST', async () => {
    await rig.memory(8192, MiB);
    const memory = rig.keep(DmaMemory.alloc(8192));
    for (const iova of [MiB, MiB + page, MiB - page]) {
      await refuses('EEXIST', () => rig.container.mapMemory(memory, { iova }));
    }
    await rig.container.mapMemory(memory, { iova: MiB + 2n * page });
  });

  conforms('where the IOMMU has no IOVAs, or in parts of pages: EINVAL', async () => {
    const memory = rig.keep(DmaMemory.alloc(8192));
    for (const placement of [
      { iova: 0xfee0_0000n },
      { iova: 0xfedf_f000n },
      { iova: 1n << 39n },
      { iova: (1n << 39n) - page },
      { iova: MiB + 100n },
      { iova: MiB, length: 100 },
      { iova: MiB, offset: 100, length: 4096 },
    ]) {
      await refuses('EINVAL', () => rig.container.mapMemory(memory, placement));
      await refuses('EINVAL', () => rig.container.mapMemorySync(memory, placement));
    }
    await refuses('EOVERFLOW', () => rig.container.mapMemory(memory, { iova: 2n ** 64n - page }));
    assert.equal(rig.container.mappings.length, 0);
  });

  conforms('is DMA memory: neither a region nor anything else', async () => {
    await refuses('ERR_INVALID_ARG_TYPE', () => rig.container.mapMemory({} as never));
    await refuses('ERR_INVALID_ARG_TYPE', () => rig.container.mapRegion({} as never));
  });

  conforms('is unmapped by its mapping, in whole mappings, or all at once', async () => {
    const { iova } = await rig.memory(8192, MiB);
    await rig.memory(8192, 2n * MiB);
    await rig.memory(8192, 3n * MiB);
    await refuses('EINVAL', () => rig.container.unmap(iova, page));
    await refuses('EINVAL', () => rig.container.unmap(iova + page, page));
    await refuses('EINVAL', () => rig.container.unmap(iova - page, 2n * page));
    await refuses('EINVAL', () => rig.container.unmap(iova, 100));
    await refuses('EINVAL', () => rig.container.unmap(iova + 1n, page));
    await refuses('EOVERFLOW', () => rig.container.unmap(2n ** 64n - page, 2n * page));
    assert.equal(observe(rig.container.unmap(8n * MiB, MiB)), 0n);
    assert.equal(rig.container.mappings.length, 3);
    assert.equal(observe(rig.container.unmap(MiB, 2n * MiB)), 16384n);
    assert.deepEqual(
      rig.container.mappings.map((mapping) => mapping.iova),
      [3n * MiB],
    );
    assert.equal(observe(rig.container.unmap()), 8192n);
    assert.equal(observe(rig.container.unmap()), 0n);
    const again = await rig.container.mapMemory(rig.keep(DmaMemory.alloc(4096)), { iova: MiB });
    await again[Symbol.asyncDispose]();
    assert.equal(observe(rig.container.info().dmaAvailable), 65535);
  });

  conforms('is there for a device that comes later, and no longer for one that left', async () => {
    const { bytes, iova } = await rig.memory();
    await rig.add('ssd');
    rig.device('engine').close();
    assert.equal(rig.container.mappings.length, 1);
    await rig.add('engine');
    await rig.engine().copy(iova, iova + page, 64);
    assert.deepEqual(bytes.subarray(4096, 4160), bytes.subarray(0, 64));
  });

  conforms('is unmapped with its container', async () => {
    const memory = rig.keep(DmaMemory.alloc(4096));
    const mapping = await rig.container.mapMemory(memory);
    await rig.container[Symbol.asyncDispose]();
    assert(mapping.closed);
    assert(rig.device('engine').closed);
    mapping.close();
  });
});

describe('a BAR in a container', () => {
  const rig = useContainer('engine', 'display');
  /** An offset in the video memory that no other case uses. */
  const offset = 8n * MiB;
  beforeEach(() => {
    rig.device('display').command.memory = true;
  });

  conforms('is where a peer reads and writes', async () => {
    const display = rig.device('display');
    const mapping = rig.container.mapRegion(display.region(vram.region), { iova: 16n * MiB, offset, length: MiB });
    const { bytes, iova } = await rig.memory(4096);
    const edu = rig.engine();
    await edu.copy(iova, mapping.iova + page, 256);
    assert.deepEqual(barBytes(display, vram.region, offset + page, 256), bytes.subarray(0, 256));
    assert.equal(mapping.region?.device, display);
  });

  conforms('of a device that does not decode memory: EFAULT', async () => {
    const display = rig.device('display');
    display.command.memory = false;
    await refuses('EFAULT', () => rig.container.mapRegion(display.region(vram.region), { iova: MiB, length: page }));
    display.command.memory = true;
    rig.container.mapRegion(display.region(vram.region), { iova: MiB, length: page }).close();
  });

  conforms('is not revoked by a reset', async () => {
    const display = rig.device('display');
    const mapping = rig.container.mapRegion(display.region(vram.region), { iova: MiB, offset, length: page });
    await display.reset();
    display.command.memory = true;
    const { bytes, iova } = await rig.memory(4096);
    await rig.engine().copy(iova, MiB, 64);
    assert.deepEqual(barBytes(display, vram.region, offset, 64), bytes.subarray(0, 64));
    assert.equal(mapping.closed, false);
  });

  conforms('is unmapped before its device is closed', async () => {
    const display = rig.device('display');
    const mapping = rig.container.mapRegion(display.region(vram.region), { iova: MiB, length: page });
    await display[Symbol.asyncDispose]();
    assert(mapping.closed);
    assert.equal(observe(rig.container.info().dmaAvailable), 65535);
  });

  conforms('cannot be a port BAR, nor be where something is', async () => {
    const ports = await rig.add('ports');
    await refuses('EINVAL', () => rig.container.mapRegion(ports.region(1), { iova: MiB, length: 256 }));
    const region = rig.device('display').region(vram.region);
    rig.container.mapRegion(region, { iova: MiB, length: page });
    await refuses('EEXIST', () => rig.container.mapRegion(region, { iova: MiB, length: page }));
    await refuses('EINVAL', () => rig.container.mapRegion(region, { iova: MiB + 1n, length: page }));
  });
});

describe('dirty pages of a container', () => {
  const rig = useContainer('engine');

  conforms('are all that is mapped, as the device cannot tell', async () => {
    await rig.memory(16384, MiB);
    await rig.memory(8192, MiB + 8n * page);
    rig.container.startDirtyTracking();
    rig.container.startDirtyTracking();
    assert.deepEqual(observe(rig.container.dirtyPages(MiB, 16n * page)), [
      { iova: MiB, length: 4n * page },
      { iova: MiB + 8n * page, length: 2n * page },
    ]);
    for (let i = 0; i < 2; i += 1) {
      assert.deepEqual(observe(rig.container.dirtyPages(MiB + 8n * page, 2n * page)).length, 1);
    }
    rig.container.stopDirtyTracking();
    rig.container.stopDirtyTracking();
    await refuses('EINVAL', () => rig.container.dirtyPages(MiB, 16n * page));
  });

  conforms('are told of more than is there, the second time, where a range has several mappings', async () => {
    await rig.memory(16384, MiB);
    await rig.memory(8192, MiB + 8n * page);
    await rig.memory(70 * 4096, MiB + 61n * page);
    rig.container.startDirtyTracking();
    const { length } = observe(rig.container.dirtyPages(MiB, 256n * page));
    assert.equal(length, 3);
    for (let i = 0; i < 2; i += 1) assert(observe(rig.container.dirtyPages(MiB, 256n * page)).length > length);
    await rig.memory(4096, MiB + 200n * page);
    observe(rig.container.unmapDirty(MiB, 256n * page));
  });

  conforms('are told of whole mappings: EINVAL', async () => {
    await rig.memory(16384, MiB);
    rig.container.startDirtyTracking();
    await refuses('EINVAL', () => rig.container.dirtyPages(MiB, page));
    await refuses('EINVAL', () => rig.container.dirtyPages(MiB + page, 3n * page));
    await refuses('EINVAL', () => rig.container.dirtyPages(MiB + 1n, 4n * page));
    await refuses('EOVERFLOW', () => rig.container.dirtyPages(2n ** 64n - page, 2n * page));
    await refuses('ERR_OUT_OF_RANGE', () => rig.container.dirtyPages(0, 2n ** 63n));
    await refuses('ERR_OUT_OF_RANGE', () => rig.container.dirtyPages(0, 0));
  });

  conforms('are told with the unmapping', async () => {
    await rig.memory(8192, MiB);
    await refuses('EINVAL', () => rig.container.unmapDirty(MiB, 2n * page));
    rig.container.startDirtyTracking();
    assert.deepEqual(observe(rig.container.unmapDirty(MiB, 4n * page)), {
      unmapped: 8192n,
      dirty: [{ iova: MiB, length: 8192n }],
    });
    assert.deepEqual(rig.container.mappings, []);
    assert.deepEqual(observe(rig.container.unmapDirty(MiB, 4n * page)), { unmapped: 0n, dirty: [] });
  });
});

describe('addresses of what a container has mapped', () => {
  const rig = useContainer('engine');

  conforms('are made invalid, and renewed: the device notices nothing', async () => {
    const { bytes, iova } = await rig.memory(8192, MiB);
    const [mapping] = rig.container.mappings;
    assert(mapping);
    assert.equal(observe(rig.container.invalidateAddresses()), 8192n);
    assert.equal(mapping.addressValid, false);
    await rig.engine().copy(iova, iova + page, 64);
    assert.deepEqual(bytes.subarray(4096, 4160), bytes.subarray(0, 64));
    mapping.renewAddress();
    assert.equal(mapping.addressValid, true);
    await refuses('EINVAL', () => mapping.renewAddress());
    mapping.close();
    await refuses('ERR_CLOSED', () => mapping.renewAddress());
  });

  conforms('cannot be made invalid twice: EINVAL, and all stay as they were', async () => {
    await rig.memory(8192, MiB);
    await rig.memory(8192, 2n * MiB);
    assert.equal(observe(rig.container.invalidateAddresses(2n * MiB, 2n * page)), 8192n);
    await refuses('EINVAL', () => rig.container.invalidateAddresses());
    await refuses('EINVAL', () => rig.container.invalidateAddresses(MiB, page));
    assert.equal(observe(rig.container.invalidateAddresses(MiB, 2n * page)), 8192n);
    assert.equal(observe(rig.container.unmap()), 16384n);
  });

  conforms('let no group join while one is invalid: EBUSY', async () => {
    await rig.memory(8192, MiB);
    rig.container.invalidateAddresses();
    await refuses('EBUSY', () => rig.add('ssd'));
    for (const mapping of rig.container.mappings) mapping.renewAddress();
    await rig.add('ssd');
  });
});

describe("a container's IOMMU of version 1", () => {
  const rig = new ContainerRig([]);
  beforeEach(async () => {
    await rig.start();
    const group = rig.group('engine');
    await group.setContainer(rig.container);
    await rig.container.setIommu('TYPE1');
    await VfioDevice.open(addressOf(reference, 'engine'), { group });
  });
  afterEach(() => rig.stop());

  conforms('unmaps more or less than is asked for', async () => {
    assert.equal(rig.container.iommu, 'TYPE1');
    await rig.memory(16384, MiB);
    assert.equal(observe(rig.container.unmap(MiB + page, page)), 0n);
    assert.equal(rig.container.mappings.length, 1);
    assert.equal(observe(rig.container.unmap(MiB, page)), 16384n);
    assert.equal(rig.container.mappings.length, 0);
  });

  conforms('tracks no dirty pages: EACCES', async () => {
    await refuses('EACCES', () => rig.container.startDirtyTracking());
    await refuses('EACCES', () => rig.container.dirtyPages(MiB, page));
  });
});
