// Hardware page tables, on the mock device's IOMMU, which has every feature, and on the machine's IOMMU, which lacks
// some.
import assert from 'node:assert/strict';
import { DmaMemory, Iommufd, type Hwpt, type HwptData } from '../../lib';
import { Edu } from '../../examples/edu';
import { guest, mockAperture, MockDevice, mockType, reserveIovas } from './mock';
import { conforms, observe, refuses } from './record';
import { barBytes, cmb, MiB, page, useRig } from './rig';

const first = mockAperture.start;

describe('a mock device', () => {
  const rig = useRig('engine');

  conforms('is bound and attached in one go, with numbers of the iommufd', () => {
    const mock = rig.keep(MockDevice.attach(rig.ioas));
    observe([mock.stdevId, mock.id, mock.hwptId].map((id) => id - rig.ioas.id));
    mock.close();
    observe(rig.keep(rig.iommufd.allocIoas()).id - rig.ioas.id);
  });

  conforms('narrows its IOAS to the aperture and page size of its IOMMU', () => {
    rig.keep(MockDevice.attach(rig.ioas));
    const { ranges, alignment } = observe(rig.ioas.iovaRanges());
    assert.deepEqual(ranges, [{ start: mockAperture.start, last: mockAperture.last }]);
    assert.equal(alignment, mockAperture.page);
  });

  conforms('keeps its IOAS from being destroyed, and goes with the iommufd', async () => {
    const iommufd = rig.keep(Iommufd.open());
    const ioas = iommufd.allocIoas();
    MockDevice.attach(ioas);
    await refuses('EBUSY', () => ioas.close());
    await refuses('EBUSY', () => iommufd.close());
    assert(iommufd.closed);
  });

  conforms('cannot be attached where a mapping lies outside its aperture', async () => {
    const memory = rig.keep(DmaMemory.alloc(4096));
    await rig.ioas.mapMemory(memory, { iova: 0n });
    await refuses('EADDRINUSE', () => MockDevice.attach(rig.ioas));
    rig.ioas.unmap();
    await rig.ioas.mapMemory(memory, { iova: first });
    rig.keep(MockDevice.attach(rig.ioas));
  });

  conforms('shares the page table of an IOAS with the next mock device, and not with a PCI device', async () => {
    const [one, two] = [rig.keep(MockDevice.attach(rig.ioas)), rig.keep(MockDevice.attach(rig.ioas))];
    assert.equal(one.hwptId, two.hwptId);
    await rig.device('engine').attach(rig.ioas);
    observe(rig.ioas.iovaRanges());
    rig.device('engine').detachSync();
  });

  conforms('moves to another IOAS', () => {
    const other = rig.keep(rig.iommufd.allocIoas());
    const mock = rig.keep(MockDevice.attach(rig.ioas));
    assert.notEqual(mock.replace(other), mock.hwptId);
    assert.equal(observe(rig.ioas.iovaRanges()).alignment, 1n);
    observe(other.iovaRanges());
  });

  conforms('IOVAs reserved by hand cannot be mapped', async () => {
    reserveIovas(rig.ioas, 0x10_0000n, 0x1000n);
    observe(rig.ioas.iovaRanges());
    const memory = rig.keep(DmaMemory.alloc(8192));
    await refuses('EINVAL', () => rig.ioas.mapMemory(memory, { iova: 0x10_0000n }));
    await refuses('EINVAL', () => rig.ioas.mapMemory(memory, { iova: 0xf_f000n }));
  });
});

describe('a HWPT', () => {
  const rig = useRig('engine', 'ssd');
  let mock: MockDevice;
  beforeEach(() => {
    mock = rig.keep(MockDevice.attach(rig.keep(rig.iommufd.allocIoas())));
  });

  conforms('narrows its IOAS as soon as it is there, and no longer when it is closed', async () => {
    const hwpt = await rig.ioas.allocHwpt(mock);
    observe(hwpt.id - rig.ioas.id);
    observe(rig.ioas.iovaRanges());
    hwpt.close();
    hwpt.close();
    assert.equal(hwpt.closed, true);
    assert.equal(observe(rig.ioas.iovaRanges()).alignment, 1n);
  });

  conforms('takes a device, and cannot be closed while that is attached', async () => {
    const hwpt = rig.keep(rig.ioas.allocHwptSync(mock));
    const attached = rig.keep(MockDevice.attach(hwpt));
    assert.equal(attached.hwptId, hwpt.id);
    await refuses('EBUSY', () => hwpt.close());
    assert.equal(hwpt.closed, false);
    attached.close();
    hwpt.close();
  });

  conforms('is closed with its IOAS, and with its iommufd', async () => {
    const ioas = rig.keep(rig.iommufd.allocIoas());
    const hwpt = await ioas.allocHwpt(mock);
    ioas.close();
    assert.equal(hwpt.closed, true);
    const iommufd = rig.keep(Iommufd.open());
    const other = iommufd.allocIoas();
    const its = MockDevice.attach(other);
    const second = await other.allocHwpt(its);
    its.close();
    iommufd.close();
    assert.equal(second.closed, true);
  });

  conforms('throws ERR_CLOSED from everything after close', async () => {
    const hwpt = rig.ioas.allocHwptSync(mock, { nestParent: true });
    hwpt.close();
    await refuses('ERR_CLOSED', () => hwpt.setDirtyTracking(true));
    await refuses('ERR_CLOSED', () => hwpt.dirtyBitmap({ iova: first, length: page }));
    await refuses('ERR_CLOSED', () => hwpt.allocNested(mock, guest));
    await refuses('ERR_CLOSED', () => hwpt.allocNestedSync(mock, guest));
  });

  conforms('cannot be made when a mapping lies where it can have none, and leaves nothing', async () => {
    const memory = rig.keep(DmaMemory.alloc(4096));
    await rig.ioas.mapMemory(memory, { iova: 0n });
    await refuses('EADDRINUSE', () => rig.ioas.allocHwpt(mock));
    await refuses('EADDRINUSE', () => rig.ioas.allocHwptSync(mock));
    assert.equal(observe(rig.ioas.iovaRanges()).alignment, 1n);
  });

  conforms('cannot be made when a mapping is not in whole pages of it', async () => {
    const memory = rig.keep(DmaMemory.alloc(4096));
    rig.ioas.mapMemorySync(memory, { iova: first, length: 1024 });
    await refuses('EADDRINUSE', () => rig.ioas.allocHwpt(mock));
  });

  conforms('cannot be made on a memory that is no memfd', async () => {
    const file = rig.keep(DmaMemory.alloc(4096));
    rig.ioas.mapFileSync(file.fd, { iova: first, length: 8192 });
    await refuses('EINVAL', () => rig.ioas.allocHwpt(mock));
  });

  conforms('takes every combination of what it can do', async () => {
    for (const nestParent of [false, true]) {
      for (const dirtyTracking of [false, true]) {
        for (const pasid of [false, true]) {
          using hwpt = await rig.ioas.allocHwpt(mock, { nestParent, dirtyTracking, pasid });
          assert.equal(hwpt.ioas, rig.ioas);
        }
      }
    }
  });

  conforms('without dirty tracking where the IOMMU has none: EOPNOTSUPP', async () => {
    const plain = rig.keep(MockDevice.attach(rig.keep(rig.iommufd.allocIoas()), { dirtyTracking: false }));
    await refuses('EOPNOTSUPP', () => rig.ioas.allocHwpt(plain, { dirtyTracking: true }));
    const tracking = rig.keep(rig.ioas.allocHwptSync(mock, { dirtyTracking: true }));
    await refuses('EINVAL', () => plain.replace(tracking));
  });

  conforms('with data of the driver’s own type, and none too short, too long or of another type', async () => {
    const make = (type: number, length: number) => () =>
      rig.ioas.allocHwpt(mock, { data: { type, bytes: new Uint8Array(length) } });
    using huge = rig.ioas.allocHwptSync(mock, {
      data: { type: mockType.hwpt, bytes: new Uint8Array([0, 0, 0, 0, 1, 0, 0, 0]) },
    });
    assert.equal(huge.closed, false);
    observe(rig.ioas.iovaRanges());
    huge.close();
    using short = await make(mockType.hwpt, 4)();
    short.close();
    await refuses('EINVAL', make(mockType.hwpt, 3));
    await refuses('EINVAL', make(mockType.hwpt, 12));
    await refuses('EINVAL', make(0, 8));
    await refuses('EINVAL', make(mockType.hwpt, 0));
    await refuses('EOPNOTSUPP', make(0xbeef, 8));
    await refuses('EOPNOTSUPP', () =>
      rig.ioas.allocHwpt(mock, { data: { type: mockType.hwpt, bytes: new Uint8Array([0, 0, 0, 0, 9, 0, 0, 0]) } }),
    );
  });

  conforms('with data of a type that the IOMMU does not know: EOPNOTSUPP', async () => {
    const wrong: HwptData[] = [
      { type: 'vtd-s1', pageTable: 0x1000n, addressWidth: 48, supervisor: true },
      { type: 'arm-smmuv3', ste: [1n, 0n] },
      { type: 'amd-guest', dte: [1n, 0n, 0n, 0n] },
    ];
    for (const data of wrong) {
      await refuses('EOPNOTSUPP', () => rig.ioas.allocHwpt(mock, { data }));
      await refuses('EOPNOTSUPP', () => rig.ioas.allocHwpt(rig.device('engine'), { data }));
    }
  });

  conforms('of a device that is not bound, is gone, or is bound elsewhere', async () => {
    await refuses('ERR_NOT_BOUND', () => rig.ioas.allocHwpt({ iommufd: undefined, id: undefined }));
    await refuses('ENOENT', () => rig.ioas.allocHwpt({ iommufd: rig.iommufd, id: rig.ioas.id }));
    using other = Iommufd.open();
    await refuses('ERR_OTHER_IOMMUFD', () => other.allocIoas().allocHwpt(mock));
  });

  conforms('of a PCI device: an ordinary one, and one for PASIDs', async () => {
    const engine = rig.device('engine');
    using plain = await rig.ioas.allocHwpt(engine);
    observe(rig.ioas.iovaRanges());
    plain.close();
    using pasid = rig.ioas.allocHwptSync(engine, { pasid: true });
    assert.equal(pasid.closed, false);
    for (const opts of [{ nestParent: true }, { dirtyTracking: true }]) {
      await refuses('EOPNOTSUPP', () => rig.ioas.allocHwpt(engine, opts));
    }
  });

  conforms('of another IOMMU does not take the device', async () => {
    const its = rig.keep(rig.ioas.allocHwptSync(rig.device('engine')));
    // Not by replace(), which lacks this check in Linux 7.3 and crashes the kernel.
    await refuses('EINVAL', () => MockDevice.attach(its));
  });

  conforms('of two kinds serve one IOAS, which has what both can map', async () => {
    using mine = await rig.ioas.allocHwpt(mock);
    using its = await rig.ioas.allocHwpt(rig.device('engine'));
    observe(rig.ioas.iovaRanges());
    mine.close();
    observe(rig.ioas.iovaRanges());
    its.close();
    observe(rig.ioas.iovaRanges());
  });

  conforms('holds what is mapped before and after', async () => {
    const memory = rig.keep(DmaMemory.alloc(8192));
    await rig.ioas.mapMemory(memory, { iova: first });
    using hwpt = await rig.ioas.allocHwpt(mock);
    const later = await rig.ioas.mapMemory(memory);
    observe(later.iova);
    const copy = rig.ioas.copySync(later);
    observe(copy.iova);
    hwpt.close();
    assert.equal(observe(rig.ioas.unmap()), 3n * 8192n);
  });

  conforms('holds dma-bufs, too', async () => {
    const peer = rig.ioas.mapDmaBuf(rig.exported('ssd', cmb.region, MiB), { iova: first });
    using hwpt = await rig.ioas.allocHwpt(mock);
    await rig.device('ssd').reset();
    assert.equal(observe(peer.state), 'revoked');
    peer.remap();
    assert.equal(observe(peer.state), 'live');
    hwpt.close();
    peer.close();
  });

  conforms('PASIDs are attached to page tables for them only', async () => {
    const ioas = rig.keep(rig.iommufd.allocIoas());
    const own = rig.keep(ioas.allocHwptSync(mock, { pasid: true }));
    const device = rig.keep(MockDevice.attach(own, { pasid: true }));
    const plain = rig.keep(rig.ioas.allocHwptSync(mock));
    const table = rig.keep(rig.ioas.allocHwptSync(mock, { pasid: true }));
    rig.keep(device); // so that it is closed before its page tables
    await refuses('EINVAL', () => device.attachPasid(7, plain));
    device.attachPasid(7, table);
    device.checkPasid(7, table);
    await refuses('EBUSY', () => device.attachPasid(7, table));
    await refuses('EBUSY', () => table.close());
    await refuses('EINVAL', () => device.replace(plain));
    device.replacePasid(7, own);
    device.checkPasid(7, own);
    device.detachPasid(7);
    device.checkPasid(7, undefined);
    device.replace(plain);
  });
});

describe('a nested HWPT', () => {
  const rig = useRig('engine');
  let mock: MockDevice;
  let parent: Hwpt;
  beforeEach(() => {
    mock = rig.keep(MockDevice.attach(rig.keep(rig.iommufd.allocIoas())));
    parent = rig.keep(rig.ioas.allocHwptSync(mock, { nestParent: true }));
  });

  conforms('is made of its parent, and keeps that from being destroyed alone', async () => {
    const nested = await parent.allocNested(mock, guest);
    assert.equal(nested.parent, parent);
    assert.equal(nested.ioas, rig.ioas);
    observe(nested.id - parent.id);
    assert(MockDevice.tlbHolds(nested, 0, 0x0403_0201) && MockDevice.tlbHolds(nested, 3, 0x0403_0201));
    assert(!MockDevice.tlbHolds(nested, 0, 0));
    const second = parent.allocNestedSync(mock, guest, { pasid: true });
    parent.close();
    assert(nested.closed && second.closed);
  });

  conforms('takes a device', async () => {
    const nested = rig.keep(await parent.allocNested(mock, guest));
    rig.keep({ close: () => mock.replace(rig.ioas) });
    mock.replace(nested);
    await refuses('EBUSY', () => nested.close());
    await refuses('EBUSY', () => parent.close());
    observe(rig.ioas.iovaRanges());
  });

  conforms('has no dirty pages of its own: ENOENT', async () => {
    const nested = rig.keep(parent.allocNestedSync(mock, guest));
    await refuses('ENOENT', () => nested.setDirtyTracking(true));
    await refuses('ENOENT', () => nested.dirtyBitmap({ iova: first, length: page }));
  });

  conforms('cannot have another nested in it, or in what is no parent', async () => {
    const nested = rig.keep(parent.allocNestedSync(mock, guest));
    await refuses('EINVAL', () => nested.allocNested(mock, guest));
    const plain = rig.keep(rig.ioas.allocHwptSync(mock));
    await refuses('EINVAL', () => plain.allocNested(mock, guest));
    await refuses('EINVAL', () => plain.allocNestedSync(mock, guest));
  });

  conforms('needs data of its IOMMU’s type', async () => {
    await refuses('EOPNOTSUPP', () => parent.allocNested(mock, { type: 'vtd-s1', pageTable: 0, addressWidth: 57 }));
    await refuses('EOPNOTSUPP', () => parent.allocNested(mock, { type: 0xbeef, bytes: new Uint8Array(8) }));
    await refuses('EINVAL', () => parent.allocNested(mock, { type: mockType.hwpt, bytes: new Uint8Array(2) }));
    await refuses('EINVAL', () => parent.allocNested(mock, { type: mockType.hwpt, bytes: new Uint8Array(0) }));
    await refuses('EOPNOTSUPP', () => parent.allocNested(mock, { type: 0, bytes: new Uint8Array(0) }));
    await refuses('ERR_INVALID_ARG_TYPE', () => parent.allocNested(mock, undefined as never));
  });

  conforms('is for devices of its parent’s IOMMU: EINVAL', () =>
    refuses('EINVAL', () =>
      parent.allocNested(rig.device('engine'), { type: 'vtd-s1', pageTable: 0, addressWidth: 48 }),
    ),
  );
});

describe('dirty tracking', () => {
  const rig = useRig('engine');
  let mock: MockDevice;
  let hwpt: Hwpt;
  beforeEach(async () => {
    mock = rig.keep(MockDevice.attach(rig.keep(rig.iommufd.allocIoas())));
    // One page table entry for each page, even if the memory is contiguous.
    rig.ioas.hugePages = false;
    hwpt = rig.keep(await rig.ioas.allocHwpt(mock, { dirtyTracking: true }));
    await rig.ioas.mapMemory(rig.keep(DmaMemory.alloc(64 * 4096)), { iova: first });
  });
  const at = (n: number) => first + BigInt(n) * page;

  conforms('tells each page once', () => {
    hwpt.setDirtyTracking(true);
    assert.deepEqual(hwpt.dirtyPages(), []);
    assert.equal(observe(MockDevice.setDirty(hwpt, [at(0), at(1), at(5), at(63)])), 4);
    assert.deepEqual(observe(hwpt.dirtyPages()), [
      { iova: at(0), length: 2n * page },
      { iova: at(5), length: page },
      { iova: at(63), length: page },
    ]);
    assert.deepEqual(observe(hwpt.dirtyPages()), []);
  });

  conforms('keeps pages dirty if it is told to', () => {
    hwpt.setDirtyTracking(true);
    MockDevice.setDirty(hwpt, [at(3)]);
    assert.equal(observe(hwpt.dirtyPages({ keep: true })).length, 1);
    assert.equal(observe(hwpt.dirtyPages({ keep: true })).length, 1);
    assert.equal(observe(hwpt.dirtyPages()).length, 1);
    assert.equal(observe(hwpt.dirtyPages()).length, 0);
  });

  conforms('gives a bitmap of the pages of a range', () => {
    hwpt.setDirtyTracking(true);
    MockDevice.setDirty(hwpt, [at(2), at(4), at(40)]);
    const bitmap = hwpt.dirtyBitmap({ iova: at(4), length: 60n * page }, { keep: true });
    observe([...bitmap]);
    assert.equal((bitmap[0] ?? 0n) & 1n, 1n);
    assert.deepEqual(observe(hwpt.dirtyPages({ iova: at(3), length: 2n * page })), [{ iova: at(4), length: page }]);
    assert.deepEqual(observe(hwpt.dirtyPages()), [
      { iova: at(2), length: page },
      { iova: at(40), length: page },
    ]);
  });

  conforms('in smaller and larger steps than the pages', () => {
    hwpt.setDirtyTracking(true);
    MockDevice.setDirty(hwpt, [at(5)]);
    const look = (pageSize: bigint) => observe(hwpt.dirtyPages({ pageSize, keep: true }));
    assert.deepEqual(look(2048n), [{ iova: at(5), length: page }]);
    assert.deepEqual(look(16384n), [{ iova: at(4), length: 4n * page }]);
    assert.deepEqual(look(64n * 1024n), [{ iova: at(0), length: 16n * page }]);
  });

  conforms('begins with all pages clean, and says what it knows when it is over', () => {
    hwpt.setDirtyTracking(true);
    MockDevice.setDirty(hwpt, [at(1)]);
    hwpt.setDirtyTracking(true);
    assert.deepEqual(observe(hwpt.dirtyPages()), []);
    MockDevice.setDirty(hwpt, [at(2)]);
    hwpt.setDirtyTracking(false);
    hwpt.setDirtyTracking(false);
    assert.equal(observe(hwpt.dirtyPages()).length, 1);
  });

  conforms('is not going on before it is begun', async () => {
    await refuses('EINVAL', () => MockDevice.setDirty(hwpt, [at(1)]));
    assert.deepEqual(observe(hwpt.dirtyPages()), []);
  });

  conforms('forgets what is unmapped', async () => {
    hwpt.setDirtyTracking(true);
    MockDevice.setDirty(hwpt, [at(1)]);
    rig.ioas.unmap();
    await rig.ioas.mapMemory(rig.keep(DmaMemory.alloc(8192)), { iova: first });
    assert.deepEqual(observe(hwpt.dirtyPages()), []);
  });

  conforms('a range is looked at up to where nothing is mapped; all mappings are looked at without one', async () => {
    const second = at(128);
    await rig.ioas.mapMemory(rig.keep(DmaMemory.alloc(8192)), { iova: second });
    hwpt.setDirtyTracking(true);
    MockDevice.setDirty(hwpt, [at(1), second]);
    assert.equal(observe(hwpt.dirtyPages({ iova: first, length: 256n * page, keep: true })).length, 1);
    assert.equal(observe(hwpt.dirtyPages({ iova: at(100), length: 100n * page, keep: true })).length, 0);
    assert.equal(observe(hwpt.dirtyPages()).length, 2);
  });

  conforms('is told apart for each page table', () => {
    using other = rig.ioas.allocHwptSync(mock, { dirtyTracking: true });
    hwpt.setDirtyTracking(true);
    other.setDirtyTracking(true);
    MockDevice.setDirty(hwpt, [at(7)]);
    assert.equal(observe(other.dirtyPages()).length, 0);
    assert.equal(observe(hwpt.dirtyPages()).length, 1);
  });

  conforms('of a table that was not made for it: EOPNOTSUPP', async () => {
    using plain = rig.ioas.allocHwptSync(mock);
    await refuses('EOPNOTSUPP', () => plain.setDirtyTracking(true));
    await refuses('EOPNOTSUPP', () => plain.setDirtyTracking(false));
    await refuses('EOPNOTSUPP', () => plain.dirtyBitmap({ iova: first, length: page }));
  });

  conforms('of ranges that are no whole pages: EINVAL; past the end: EOVERFLOW', async () => {
    const look = (iova: bigint, length: bigint, pageSize = page) => hwpt.dirtyBitmap({ iova, length }, { pageSize });
    await refuses('EINVAL', () => look(first + 1n, page));
    await refuses('EINVAL', () => look(first, page - 1n));
    await refuses('EINVAL', () => look(first + 2048n, page));
    await refuses('EINVAL', () => look(first, 3n * page, 2n * page));
    await refuses('EOVERFLOW', () => look(0xffff_ffff_ffff_f000n, 2n * page));
    await refuses('ERR_OUT_OF_RANGE', () => look(first, 0n));
    await refuses('ERR_OUT_OF_RANGE', () => look(first, page, 3000n));
    await refuses('ERR_OUT_OF_RANGE', () => look(0n, 1n << 43n));
  });
});

describe('hw info', () => {
  const rig = useRig('engine', 'ssd');

  conforms('of a PCI device: its IOMMU, by type', () => {
    const info = observe(rig.iommufd.hwInfo(rig.device('engine')));
    assert.equal(info.iommu.type, 'intel-vtd');
    assert.equal(info.dirtyTracking, false);
    assert.deepEqual(observe(rig.iommufd.hwInfo(rig.device('engine'), { type: 'intel-vtd' })), info);
    observe(rig.iommufd.hwInfo(rig.device('ssd')));
  });

  conforms('of another type than the IOMMU is: EOPNOTSUPP', async () => {
    for (const type of ['arm-smmuv3', 'tegra241-cmdqv', 'amd'] as const) {
      await refuses('EOPNOTSUPP', () => rig.iommufd.hwInfo(rig.device('engine'), { type }));
    }
    const mock = rig.keep(MockDevice.attach(rig.ioas));
    await refuses('EOPNOTSUPP', () => rig.iommufd.hwInfo(mock, { type: 'intel-vtd' }));
  });

  conforms('of a mock device: a type without a name, with its bytes; and what it can do', () => {
    const mock = rig.keep(MockDevice.attach(rig.ioas));
    const { iommu, ...can } = rig.iommufd.hwInfo(mock);
    assert(iommu.type === 'unknown');
    assert.equal(observe(iommu.number), mockType.hwInfo);
    observe([...iommu.bytes]);
    observe(can);
    assert.equal(can.dirtyTracking, true);
    const plain = rig.keep(MockDevice.attach(rig.ioas, { dirtyTracking: false, pasid: true }));
    const other = observe(rig.iommufd.hwInfo(plain));
    assert.deepEqual([other.dirtyTracking, other.pasidBits], [false, 20]);
  });

  conforms('of a device that is not bound, gone, or elsewhere', async () => {
    await refuses('ERR_NOT_BOUND', () => rig.iommufd.hwInfo({ iommufd: undefined, id: undefined }));
    await refuses('ENOENT', () => rig.iommufd.hwInfo({ iommufd: rig.iommufd, id: 0x7fff_ffff }));
    using other = Iommufd.open();
    await refuses('ERR_OTHER_IOMMUFD', () => other.hwInfo(rig.device('engine')));
  });
});

describe('a VFIO device on a HWPT', () => {
  const rig = useRig('engine', 'ssd');
  const length = 256;
  let hwpt: Hwpt;
  beforeEach(async () => {
    hwpt = rig.keep(await rig.ioas.allocHwpt(rig.device('engine')));
  });

  conforms('is attached to it and to its IOAS, and moves between them', async () => {
    const engine = rig.device('engine');
    await engine.attach(hwpt);
    assert.deepEqual([engine.hwpt, engine.ioas], [hwpt, rig.ioas]);
    observe(rig.ioas.iovaRanges());
    engine.attachSync(rig.ioas);
    assert.deepEqual([engine.hwpt, engine.ioas], [undefined, rig.ioas]);
    hwpt.close();
    engine.detachSync();
    assert.equal(engine.ioas, undefined);
    observe(rig.ioas.iovaRanges());
  });

  conforms('is detached when that is closed, or its IOAS', async () => {
    const engine = rig.device('engine');
    engine.attachSync(hwpt);
    hwpt.close();
    assert.equal(engine.ioas, undefined);
    const ioas = rig.keep(rig.iommufd.allocIoas());
    await engine.attach(await ioas.allocHwpt(engine));
    await ioas[Symbol.asyncDispose]();
    assert.equal(engine.hwpt, undefined);
    const another = rig.iommufd.allocIoas();
    const own = another.allocHwptSync(engine);
    engine.attachSync(own);
    await own[Symbol.asyncDispose]();
    assert.deepEqual([own.closed, engine.ioas], [true, undefined]);
    another.close();
  });

  conforms('reaches memory and its peers’, and what is revoked when it is mapped again', async () => {
    const memory = await rig.memory();
    rig.device('engine').attachSync(hwpt);
    const engine = new Edu(rig.device('engine'));
    const peer = rig.ioas.mapDmaBuf(rig.exported('ssd', cmb.region, MiB), { iova: 0x1000_0000n });
    const reaches = async (mapping: { iova: bigint }) => {
      rig.device('ssd').region(cmb.region).write(0n, Buffer.alloc(length));
      await engine.copy(memory.iova, mapping.iova, length);
      const bytes = barBytes(rig.device('ssd'), cmb.region, 0n, length);
      return observe(bytes.equals(memory.bytes.subarray(0, length)));
    };
    assert(await reaches(peer));
    const copy = await rig.ioas.copy(peer);
    await rig.device('ssd').reset();
    assert(!(await reaches(peer)));
    assert.deepEqual(observe([peer.state, copy.state]), ['revoked', 'revoked']);
    peer.remap();
    assert(await reaches(peer));
    assert(!(await reaches(copy)));
    peer.close();
    assert(!(await reaches(peer)));
  });

  conforms('is served by it as soon as it is attached, whatever was mapped before', async () => {
    const memory = await rig.memory();
    const peer = rig.ioas.mapDmaBuf(rig.exported('ssd', cmb.region, page));
    rig.device('engine').attachSync(hwpt);
    await new Edu(rig.device('engine')).copy(memory.iova, peer.iova, length);
    assert.deepEqual(barBytes(rig.device('ssd'), cmb.region, 0n, length), memory.bytes.subarray(0, length));
  });

  conforms('cannot be attached to one that is closed, elsewhere, or of another IOMMU', async () => {
    const engine = rig.device('engine');
    using other = Iommufd.open();
    const mock = MockDevice.attach(other.allocIoas());
    const elsewhere = other.allocIoas().allocHwptSync(mock);
    await refuses('ERR_OTHER_IOMMUFD', () => engine.attach(elsewhere));
    mock.close();
    const its = rig.keep(MockDevice.attach(rig.keep(rig.iommufd.allocIoas())));
    const foreign = rig.keep(rig.keep(rig.iommufd.allocIoas()).allocHwptSync(its));
    await refuses('EINVAL', () => engine.attach(foreign));
    hwpt.close();
    await refuses('ERR_CLOSED', () => engine.attach(hwpt));
    await refuses('ERR_CLOSED', () => engine.attachSync(hwpt));
  });

  conforms('is closed with calls under way', async () => {
    const engine = rig.device('engine');
    const ioas = rig.iommufd.allocIoas();
    const own = ioas.allocHwptSync(engine);
    const attaching = engine.attach(own);
    own.close();
    await refuses('ERR_CLOSED', () => attaching);
    await own[Symbol.asyncDispose]();
    assert.equal(engine.hwpt, undefined);
    const making = ioas.allocHwpt(engine);
    ioas.close();
    await refuses('ERR_CLOSED', () => making);
    await ioas[Symbol.asyncDispose]();
  });

  conforms('is closed with its IOAS while calls on it are under way', async () => {
    const ioas = rig.keep(rig.iommufd.allocIoas());
    const own = ioas.allocHwptSync(rig.device('engine'));
    const attaching = rig.device('engine').attach(own);
    ioas.close();
    await refuses('ERR_CLOSED', () => attaching);
    await ioas[Symbol.asyncDispose]();
    assert.deepEqual([ioas.closed, own.closed, rig.device('engine').hwpt], [true, true, undefined]);
  });
});
