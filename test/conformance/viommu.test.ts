// Virtual IOMMUs on the mock device: their devices, page tables and events.
import assert from 'node:assert/strict';
import { DmaMemory, Iommufd, type Hwpt, type VeventQueue, type Viommu } from '../../lib';
import { guest, MockDevice } from './mock';
import { conforms, observe, refuses } from './record';
import { useRig } from './rig';

const selftest = 0xdead_beef;
const events = { type: 0xbeef_beef, eventLength: 4 };

describe('a virtual IOMMU', () => {
  const rig = useRig('engine');
  let mock: MockDevice;
  let parent: Hwpt;
  let viommu: Viommu;
  beforeEach(() => {
    mock = rig.keep(MockDevice.attach(rig.keep(rig.iommufd.allocIoas())));
    parent = rig.keep(rig.ioas.allocHwptSync(mock, { nestParent: true }));
    viommu = rig.keep(rig.iommufd.allocViommu(mock, parent, { type: selftest }));
  });
  /** Attaches the device to this page table until the case ends. */
  const onto = (table: Hwpt) => {
    mock.replace(table);
    rig.keep({ close: () => mock.replace(rig.ioas) });
  };
  const another = () => rig.keep(MockDevice.attach(rig.ioas));
  const queueOf = (depth: number): VeventQueue => {
    const queue = rig.keep(viommu.allocEventQueue({ ...events, depth }));
    rig.keep(viommu.allocVdevice(mock, 0x77));
    onto(rig.keep(viommu.allocNestedSync(mock, guest)));
    return queue;
  };
  const seen = (queue: VeventQueue) =>
    observe(queue.read().map(({ bytes, ...event }) => ({ ...event, bytes: bytes && [...bytes] })));

  conforms('is built on a nesting parent', async () => {
    observe(viommu.id - parent.id);
    assert.equal(viommu.parent, parent);
    await refuses('EINVAL', () =>
      rig.iommufd.allocViommu(mock, rig.keep(rig.ioas.allocHwptSync(mock)), { type: selftest }),
    );
  });

  conforms('is of a type that the IOMMU has: EOPNOTSUPP', async () => {
    const engine = rig.device('engine');
    for (const type of [0, 'arm-smmuv3', 'tegra241-cmdqv'] as const) {
      await refuses('EOPNOTSUPP', () => rig.iommufd.allocViommu(mock, parent, { type }));
    }
    await refuses('EOPNOTSUPP', () => rig.iommufd.allocViommu(engine, parent, { type: selftest }));
    await refuses('ERR_OUT_OF_RANGE', () => rig.iommufd.allocViommu(mock, parent, { type: 'intel' as never }));
    await refuses('ERR_INVALID_ARG_TYPE', () => rig.iommufd.allocViommu(mock, rig.ioas as never, { type: 1 }));
    using other = Iommufd.open();
    await refuses('ERR_OTHER_IOMMUFD', () => other.allocViommu(mock, parent, { type: selftest }));
  });

  conforms('has an answer of its driver', async () => {
    const bytes = Uint8Array.of(1, 2, 3, 4, 0, 0, 0, 0);
    const made = rig.keep(rig.iommufd.allocViommu(mock, parent, { type: selftest, bytes }));
    assert.deepEqual(observe([...made.answer]), [1, 2, 3, 4, 1, 2, 3, 4]);
    assert.equal(bytes[4], 0);
    await refuses('EINVAL', () => rig.iommufd.allocViommu(mock, parent, { type: selftest, bytes: bytes.slice(1) }));
  });

  conforms('knows each device by one number', async () => {
    const [second, vdevice] = [another(), rig.keep(viommu.allocVdevice(mock, 5n))];
    assert.equal(vdevice.virtualId, 5n);
    await refuses('EEXIST', () => viommu.allocVdevice(mock, 6));
    await refuses('EEXIST', () => viommu.allocVdevice(second, 5));
    await refuses('EINVAL', () => viommu.allocVdevice(rig.device('engine'), 6));
    vdevice.close();
    rig.keep(viommu.allocVdevice(second, 5));
    rig.keep(viommu.allocVdevice(mock, 0xffff_ffff_ffff_ffffn));
  });

  conforms('loses a device that leaves, and its number', () => {
    const second = rig.keep(MockDevice.attach(rig.ioas));
    const vdevice = rig.keep(viommu.allocVdevice(second, 9));
    const { id } = vdevice;
    second.close();
    vdevice.close();
    const next = rig.keep(rig.iommufd.allocIoas());
    const after = rig.keep(rig.iommufd.allocIoas());
    assert(![next.id, after.id].includes(id));
    observe(after.id - next.id);
    rig.keep(viommu.allocVdevice(mock, 9));
  });

  conforms('has page tables of the guest, for devices that it knows', async () => {
    const nested = rig.keep(await viommu.allocNested(mock, guest));
    assert.equal(nested.parent, parent);
    await refuses('ENOENT', () => mock.replace(nested));
    rig.keep(viommu.allocVdevice(mock, 5));
    onto(nested);
    assert(observe(MockDevice.tlbHolds(nested, 0, 0x0403_0201)));
    await refuses('EBUSY', () => viommu.close());
    await refuses('EINVAL', () => viommu.allocNested(rig.device('engine'), guest));
    await refuses('EOPNOTSUPP', () => viommu.allocNested(mock, { type: 'vtd-s1', pageTable: 0, addressWidth: 48 }));
  });

  conforms('makes the caches of its devices forget', async () => {
    rig.keep(viommu.allocVdevice(mock, 5));
    const forget = (...entries: [flags: number, device: number, entry: number][]) =>
      viommu.invalidate({
        type: selftest,
        entryLength: 12,
        bytes: new Uint8Array(Uint32Array.from(entries.flat()).buffer),
      });
    const held = () => observe([0, 1, 2, 3].map((entry) => mock.cacheHolds(entry, 0xbaddad)));
    const heeded = (error: unknown) => observe((error as { args: { heeded: number } }).args.heeded);
    forget();
    forget([0, 5, 1]);
    assert.deepEqual(held(), [true, false, true, true]);
    const unknown = await refuses('EINVAL', () => forget([0, 5, 2], [0, 6, 0]));
    assert.equal(heeded(unknown), 1);
    await refuses('EINVAL', () => forget([0, 5, 4]));
    await refuses('EOPNOTSUPP', () => forget([2, 5, 0]));
    await refuses('E2BIG', () =>
      viommu.invalidate({ type: selftest, entryLength: 16, bytes: new Uint8Array(16).fill(1) }),
    );
    await refuses('EINVAL', () => viommu.invalidate({ type: 'arm-smmuv3', commands: [[0, 0]] }));
    assert.deepEqual(held(), [true, false, false, true]);
    forget([1, 5, 0]);
    assert.deepEqual(held(), [false, false, false, false]);
  });

  conforms('tells events, in order, with the number that the guest knows the device by', () => {
    const queue = queueOf(4);
    assert.deepEqual(seen(queue), []);
    mock.triggerVevent();
    mock.triggerVevent();
    assert.deepEqual(seen(queue), [
      { sequence: 0, lost: 0, bytes: [0x77, 0, 0, 0] },
      { sequence: 1, lost: 0, bytes: [0x77, 0, 0, 0] },
    ]);
  });

  conforms('tells how many events were lost', () => {
    const queue = queueOf(2);
    for (let i = 0; i < 5; ++i) mock.triggerVevent();
    assert.deepEqual(
      seen(queue).map(({ sequence, lost, bytes }) => [sequence, lost, bytes !== undefined]),
      [
        [0, 0, true],
        [1, 0, true],
        [4, 3, false],
      ],
    );
    mock.triggerVevent();
    assert.deepEqual(
      seen(queue).map(({ sequence, lost }) => [sequence, lost]),
      [[5, 0]],
    );
  });

  conforms('tells events through the event loop', async () => {
    const queue = queueOf(4);
    const device = mock;
    setTimeout(() => device.triggerVevent(), 10);
    for await (const { sequence } of queue.listen()) {
      observe(sequence);
      break;
    }
    const ended = queue.listen().next();
    queue.close();
    assert.equal((await ended).done, true);
    await refuses('ERR_CLOSED', () => queue.read());
  });

  conforms('has one queue of each type', async () => {
    const queue = rig.keep(viommu.allocEventQueue({ ...events, depth: 1 }));
    assert.equal(queue.viommu, viommu);
    await refuses('EEXIST', () => viommu.allocEventQueue({ ...events, depth: 1 }));
    rig.keep(viommu.allocEventQueue({ type: 'arm-smmuv3', depth: 1 << 19 }));
    await refuses('EOPNOTSUPP', () => viommu.allocEventQueue({ type: 0, eventLength: 4, depth: 1 }));
    await refuses('ERR_OUT_OF_RANGE', () => viommu.allocEventQueue({ ...events, depth: 0 }));
    await refuses('ERR_OUT_OF_RANGE', () => viommu.allocEventQueue({ ...events, depth: (1 << 19) + 1 }));
    queue.close();
    rig.keep(viommu.allocEventQueue({ ...events, depth: 1 }));
  });

  conforms('goes with its page table', async () => {
    const vdevice = viommu.allocVdevice(mock, 5);
    const queue = viommu.allocEventQueue({ ...events, depth: 1 });
    const nested = viommu.allocNestedSync(mock, guest);
    parent.close();
    assert(viommu.closed && vdevice.closed && queue.closed && nested.closed);
    await refuses('ERR_CLOSED', () => viommu.allocVdevice(mock, 6));
    await refuses('ERR_CLOSED', () => viommu.allocNested(mock, guest));
  });

  describe('with queues in hardware', () => {
    const queue = (index: number, iova = 0x200_0000n, length = 4096n) =>
      rig.keep(viommu.allocHwQueue({ type: selftest, index, iova, length }));

    conforms('are made in ascending order, in mapped memory', async () => {
      const memory = rig.keep(DmaMemory.alloc(0x4000));
      const mapping = rig.ioas.mapMemorySync(memory, { iova: 0x200_0000n });
      await refuses('EIO', () => queue(1));
      const first = queue(0);
      observe(first.id - viommu.id);
      assert.equal(first.index, 0);
      await refuses('EEXIST', () => queue(0));
      await refuses('EINVAL', () => queue(2));
      const second = queue(1, 0x200_1010n, 100n);
      await refuses('EBUSY', () => mapping.close());
      await refuses('EBUSY', () => rig.ioas.unmap(0x200_0000n, 0x4000n));
      await refuses('EBUSY', () => first.close());
      second.close();
      first.close();
      mapping.close();
    });

    conforms('are of a type that the IOMMU has, in memory that is there', async () => {
      const type = (number: number | 'tegra241-cmdqv') => () =>
        viommu.allocHwQueue({ type: number, index: 0, iova: 0, length: 4096 });
      await refuses('EOPNOTSUPP', type('tegra241-cmdqv'));
      await refuses('EOPNOTSUPP', type(0));
      await refuses('ENOENT', () => queue(0));
      const memory = rig.keep(DmaMemory.alloc(0x1000));
      const mapping = rig.ioas.mapMemorySync(memory, { iova: 0x200_0000n });
      await refuses('ENOENT', () => queue(0, 0x200_0000n, 0x1001n));
      await refuses('EOVERFLOW', () => queue(0, 0xffff_ffff_ffff_f000n, 0x1001n));
      await refuses('ERR_OUT_OF_RANGE', () => queue(0, 0x200_0000n, 0n));
      await refuses('ERR_INVALID_ARG_TYPE', () => viommu.allocHwQueue(undefined as never));
      mapping.close();
    });
  });
});
