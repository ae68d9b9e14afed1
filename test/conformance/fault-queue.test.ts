// Page requests of the mock device, read from a fault queue.
import assert from 'node:assert/strict';
import { Iommufd, type FaultQueue, type Hwpt, type PageRequestGroup } from '../../lib';
import { guest, MockDevice } from './mock';
import { conforms, observe, refuses } from './record';
import { useRig } from './rig';

describe('a fault queue', () => {
  const rig = useRig('engine');
  let mock: MockDevice;
  let faults: FaultQueue;
  let hwpt: Hwpt;
  beforeEach(() => {
    faults = rig.keep(rig.iommufd.allocFaultQueue());
    mock = rig.keep(MockDevice.attach(rig.keep(rig.iommufd.allocIoas()), { pasid: true }));
    hwpt = rig.keep(rig.ioas.allocHwptSync(mock, { faultQueue: faults, pasid: true }));
  });
  /** Attaches the device to this page table until the case ends. */
  const onto = (table: Hwpt) => {
    mock.replace(table);
    rig.keep({ close: () => mock.replace(rig.ioas) });
  };
  /** The fields that do not depend on which ids were free. */
  const seen = ({ device, ...group }: PageRequestGroup) => observe({ ...group, its: device === mock.id });

  conforms('has a number, and nothing to read', () => {
    observe(faults.id - rig.ioas.id);
    assert.deepEqual(observe(faults.read()), []);
    assert.equal(faults.iommufd, rig.iommufd);
  });

  conforms('gives page requests of a device on a page table that was made with it, once', () => {
    onto(hwpt);
    mock.triggerIopf({ address: 0x1234_5000n, perm: 3, group: 7 });
    const [group] = faults.read();
    assert(group);
    assert.deepEqual(seen(group), {
      pasid: undefined,
      group: 7,
      requests: [{ address: 0x1234_5000n, read: true, write: true, execute: false, privileged: false, length: 0 }],
      cookie: 1,
      its: true,
    });
    assert.deepEqual(faults.read(), []);
    faults.respond(group, 'success');
  });

  conforms('gives several in their order, and takes the responses in any', async () => {
    onto(hwpt);
    for (let i = 0; i < 5; ++i) mock.triggerIopf({ address: BigInt(i) << 12n, perm: 1 << (i & 3), group: i });
    const groups = faults.read();
    groups.forEach(seen);
    assert.deepEqual(
      groups.map(({ group }) => group),
      [0, 1, 2, 3, 4],
    );
    for (const i of [3, 0, 4, 1, 2]) faults.respond(groups[i]!, i & 1 ? 'success' : 'invalid');
    await refuses('EINVAL', () => faults.respond(groups[0]!, 'success'));
    mock.triggerIopf({ address: 0n });
    faults
      .read()
      .map(seen)
      .forEach(({ cookie }) => faults.respond({ cookie }, 'invalid'));
  });

  conforms('gives them through the event loop', async () => {
    onto(hwpt);
    const requests = faults.listen();
    const first = requests.next();
    setTimeout(() => {
      mock.triggerIopf({ address: 0x1000n, perm: 1, group: 1 });
      mock.triggerIopf({ address: 0x2000n, perm: 2, group: 2 });
    }, 10);
    const { value } = await first;
    assert(value);
    seen(value);
    faults.respond(value, 'success');
    await requests.return();
    // No page request was lost.
    for await (const group of faults.listen()) {
      assert.equal(seen(group).group, 2);
      faults.respond(group, 'success');
      break;
    }
  });

  conforms('ends its listeners when it is closed, and by their signal', async () => {
    const aborting = new AbortController();
    setTimeout(() => aborting.abort(Object.assign(new Error('enough'), { code: 'ERR_ENOUGH' })), 10);
    await refuses('ERR_ENOUGH', () => faults.listen({ signal: aborting.signal }).next());
    const queue = faults;
    setTimeout(() => queue.close(), 10);
    assert.deepEqual(await faults.listen().next(), { value: undefined, done: true });
    assert(faults.closed && hwpt.closed);
    await refuses('ERR_CLOSED', () => faults.read());
    await refuses('ERR_CLOSED', () => faults.listen());
    await refuses('ERR_CLOSED', () => faults.respond({ cookie: 1 }, 'success'));
    await refuses('ERR_CLOSED', () => rig.ioas.allocHwpt(mock, { faultQueue: faults }));
  });

  conforms('cannot be closed while a device is on its page table', async () => {
    onto(hwpt);
    await refuses('EBUSY', () => faults.close());
    mock.replace(rig.ioas);
    await faults[Symbol.asyncDispose]();
    assert(hwpt.closed);
  });

  conforms('forgets requests of a device that leaves the page table: the kernel has answered', async () => {
    onto(hwpt);
    mock.triggerIopf({ address: 0x1000n });
    const [group] = faults.read();
    assert(group);
    mock.triggerIopf({ address: 0x2000n });
    mock.replace(rig.ioas);
    assert.deepEqual(observe(faults.read()), []);
    await refuses('EINVAL', () => faults.respond(group, 'success'));
  });

  conforms('gets nothing from a device elsewhere', () => {
    mock.triggerIopf({ address: 0x1000n });
    assert.deepEqual(observe(faults.read()), []);
  });

  conforms('is of one PASID, if that is what is attached', () => {
    onto(rig.keep(rig.ioas.allocHwptSync(mock, { pasid: true })));
    mock.attachPasid(5, hwpt);
    rig.keep({ close: () => mock.detachPasid(5) });
    mock.triggerIopf({ address: 0x1000n, pasid: 5 });
    mock.triggerIopf({ address: 0x2000n, pasid: 6 });
    mock.triggerIopf({ address: 0x3000n });
    const groups = faults.read().map(seen);
    assert.deepEqual(
      groups.map(({ pasid }) => pasid),
      [5],
    );
  });

  conforms('gets requests of every PASID where the page table is a guest’s own', () => {
    const parent = rig.keep(rig.ioas.allocHwptSync(mock, { nestParent: true }));
    const nested = rig.keep(parent.allocNestedSync(mock, guest, { faultQueue: faults }));
    onto(nested);
    mock.triggerIopf({ address: 0x1000n, pasid: 5 });
    mock.triggerIopf({ address: 0x2000n });
    const groups = faults.read().map(seen);
    assert.deepEqual(
      groups.map(({ pasid }) => pasid),
      [5, undefined],
    );
  });

  conforms('serves several page tables, nested ones among them', async () => {
    const parent = rig.keep(rig.ioas.allocHwptSync(mock, { nestParent: true }));
    const nested = rig.keep(await parent.allocNested(mock, guest, { faultQueue: faults }));
    const other = rig.keep(await rig.ioas.allocHwpt(mock, { faultQueue: faults }));
    for (const table of [nested, other]) {
      onto(table);
      mock.triggerIopf({ address: 0x1000n });
      const [group] = faults.read();
      assert(group);
      seen(group);
      faults.respond(group, 'invalid');
    }
  });

  conforms('is not for a nesting parent: EOPNOTSUPP', () =>
    refuses('EOPNOTSUPP', () => rig.ioas.allocHwpt(mock, { faultQueue: faults, nestParent: true })),
  );

  conforms('is not for a PCI device without page requests: ENODEV', async () => {
    const engine = rig.device('engine');
    const table = rig.keep(rig.ioas.allocHwptSync(engine, { faultQueue: faults }));
    await refuses('ENODEV', () => engine.attach(table));
    await engine.attach(rig.ioas);
    engine.detachSync();
  });

  conforms('is of one iommufd', async () => {
    using other = Iommufd.open();
    const elsewhere = other.allocFaultQueue();
    await refuses('ERR_OTHER_IOMMUFD', () => rig.ioas.allocHwpt(mock, { faultQueue: elsewhere }));
    await refuses('ERR_INVALID_ARG_TYPE', () => rig.ioas.allocHwpt(mock, { faultQueue: {} as never }));
  });

  conforms('goes with its iommufd', async () => {
    const iommufd = rig.keep(Iommufd.open());
    const queue = iommufd.allocFaultQueue();
    const ioas = iommufd.allocIoas();
    const device = MockDevice.attach(ioas);
    const table = ioas.allocHwptSync(device, { faultQueue: queue });
    device.close();
    const ended = queue.listen().next();
    iommufd.close();
    assert(queue.closed && table.closed);
    assert.equal((await ended).done, true);
  });

  conforms('checks a response', async () => {
    await refuses('EINVAL', () => faults.respond({ cookie: 1 }, 'success'));
    await refuses('ERR_OUT_OF_RANGE', () => faults.respond({ cookie: 1 }, 'perhaps' as never));
    await refuses('ERR_INVALID_ARG_TYPE', () => faults.respond({} as never, 'success'));
    await refuses('ERR_INVALID_ARG_TYPE', () => faults.listen({ signal: {} as AbortSignal }));
  });
});

describe('a nested HWPT that is invalidated', () => {
  const rig = useRig('engine');
  const type = 0xdead_beef;
  let nested: Hwpt;
  let parent: Hwpt;
  beforeEach(() => {
    const mock = rig.keep(MockDevice.attach(rig.keep(rig.iommufd.allocIoas())));
    parent = rig.keep(rig.ioas.allocHwptSync(mock, { nestParent: true }));
    nested = rig.keep(parent.allocNestedSync(mock, guest));
  });
  const entries = (...all: [flags: number, entry: number][]) => new Uint8Array(Uint32Array.from(all.flat()).buffer);
  const forget = (...all: [flags: number, entry: number][]) =>
    nested.invalidate({ type, entryLength: 8, bytes: entries(...all) });
  const held = () => observe([0, 1, 2, 3].map((entry) => MockDevice.tlbHolds(nested, entry, 0x0403_0201)));
  const heeded = (error: unknown) => observe((error as { args: { heeded: number } }).args.heeded);

  conforms('forgets the entries that are named, or all', () => {
    assert.deepEqual(held(), [true, true, true, true]);
    forget([0, 1], [0, 3]);
    assert.deepEqual(held(), [true, false, true, false]);
    assert(MockDevice.tlbHolds(nested, 1, 0));
    forget([1, 0]);
    assert.deepEqual(held(), [false, false, false, false]);
  });

  conforms('says how many entries were heeded before one that is not', async () => {
    assert.equal(heeded(await refuses('EINVAL', () => forget([0, 0], [0, 4], [0, 1]))), 1);
    assert.deepEqual(held(), [false, true, true, true]);
    assert.equal(heeded(await refuses('EOPNOTSUPP', () => forget([0, 1], [0, 2], [2, 3]))), 2);
    assert.deepEqual(held(), [false, false, false, true]);
  });

  conforms('takes entries of its IOMMU only', async () => {
    const bytes = entries([0, 0]);
    const refused = (code: string, data: Parameters<Hwpt['invalidate']>[0]) =>
      refuses(code, () => nested.invalidate(data));
    await refused('EINVAL', { type: 0xdad_beef, entryLength: 8, bytes });
    await refused('EINVAL', { type: 'vtd-s1', entries: [{ address: 0, pages: 1, leaf: true }] });
    await refused('EINVAL', { type: 'arm-smmuv3', commands: [[0x30, 0n]] });
    await refused('EINVAL', { type, entryLength: 4, bytes });
    await refused('EINVAL', { type, entryLength: 16, bytes: new Uint8Array(16) });
    await refused('EINVAL', { type: 0xdad_beef, entryLength: 8, bytes: new Uint8Array() });
    nested.invalidate({ type, entryLength: 8, bytes: new Uint8Array() });
    await refused('ERR_OUT_OF_RANGE', { type, entryLength: 16, bytes });
    await refused('ERR_OUT_OF_RANGE', { type: 'vtd-s2' as never, entries: [] });
    await refused('ERR_INVALID_ARG_TYPE', { type: 'arm-smmuv3', commands: [[1]] as never });
    assert.deepEqual(held(), [true, true, true, true]);
  });

  conforms('is nested, or EINVAL', async () => {
    await refuses('EINVAL', () => parent.invalidate({ type, entryLength: 8, bytes: entries([0, 0]) }));
    nested.close();
    await refuses('ERR_CLOSED', () => forget([0, 0]));
  });
});
