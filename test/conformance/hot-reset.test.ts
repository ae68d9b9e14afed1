// Hot reset of two functions of one device. They share a bus, so they are reset together, and an IOMMU group, so they
// have the same owner.
import assert from 'node:assert/strict';
import { Iommufd, VfioDevice, type DmaBuf } from '../../lib';
import { conforms, observe, refuses, unlessFailing } from './record';
import { addresses, page } from './rig';

describe('two functions of a device', () => {
  let iommufd: Iommufd;
  let exported: DmaBuf[] = [];
  beforeEach(() => {
    iommufd = Iommufd.open();
  });
  afterEach(() => {
    for (const buffer of exported) buffer.close();
    exported = [];
    iommufd.close();
  });
  const pageOf = (device: VfioDevice, offset = 0n) => {
    const buffer = device.exportDmaBuf({ region: 0, offset, length: page });
    exported.push(buffer);
    return buffer;
  };
  const open = (role: 'twin0' | 'twin1') => VfioDevice.open(addresses[role], { iommufd });

  conforms('are told together, by whichever is asked', async () => {
    const [first, second] = [await open('twin0'), await open('twin1')];
    assert.deepEqual(observe(first.hotResetInfo()), second.hotResetInfo());
    assert.equal(first.hotResetInfo().allowed, true);
    assert.deepEqual(
      first.hotResetInfo().devices.map(({ address, id }) => [address, id]),
      [
        [first.address, first.id],
        [second.address, second.id],
      ],
    );
  });

  conforms('one of them alone may be reset with the other, which nobody else can have', async () => {
    const first = await open('twin0');
    const { allowed, devices } = observe(first.hotResetInfo());
    assert.deepEqual([allowed, devices[1]?.id, devices[1]?.foreign], [true, undefined, false]);
    await first.hotReset();
    observe(first.command.value);
  });

  conforms('the other cannot go to another iommufd: EPERM', async () => {
    await open('twin0');
    using other = Iommufd.open();
    const error = await refuses('EPERM', () => VfioDevice.open(addresses.twin1, { iommufd: other }));
    unlessFailing(() => assert.match(error.message, /0000:06:00\.0\) is bound to another iommufd/));
    observe((await open('twin1')).id);
  });

  conforms('closed, the other can', async () => {
    (await open('twin0')).close();
    using other = Iommufd.open();
    using second = await VfioDevice.open(addresses.twin1, { iommufd: other });
    observe(second.id);
  });

  conforms('cannot be reset each on its own: EINVAL', async () => {
    const [first, second] = [await open('twin0'), await open('twin1')];
    assert.deepEqual(observe([first.info().resettable, second.info().resettable]), [false, false]);
    await refuses('EINVAL', () => first.reset());
    await refuses('EINVAL', () => second.resetSync());
  });

  conforms('a hot reset of either revokes what both export', async () => {
    const [first, second] = [await open('twin0'), await open('twin1')];
    const ioas = iommufd.allocIoas();
    const mappings = [0n, page].map((offset) => ioas.mapDmaBuf(pageOf(first, offset)));
    for (const device of [first, second]) {
      await device.hotReset();
      assert.deepEqual(observe(mappings.map(({ state }) => state)), ['revoked', 'revoked']);
      for (const mapping of mappings) mapping.remap();
      assert.deepEqual(observe(mappings.map(({ state }) => state)), ['live', 'live']);
    }
    second.hotResetSync();
    assert.equal(observe(mappings[0]?.state), 'revoked');
  });

  conforms('a refused reset of one revokes nothing', async () => {
    const first = await open('twin0');
    const ioas = iommufd.allocIoas();
    const mapping = ioas.mapDmaBuf(pageOf(first));
    await refuses('EINVAL', () => first.reset());
    assert.equal(observe(mapping.state), 'live');
  });

  conforms('keep their command registers through a hot reset', async () => {
    const [first, second] = [await open('twin0'), await open('twin1')];
    first.command.busMaster = true;
    second.command.memory = false;
    await first.hotReset();
    observe([first.command.value, second.command.value]);
    assert.equal(first.command.busMaster, true);
    assert.equal(second.command.memory, false);
  });

  conforms('move together: one that is attached elsewhere takes the other along', async () => {
    const [first, second] = [await open('twin0'), await open('twin1')];
    const [ioas, other] = [iommufd.allocIoas(), iommufd.allocIoas()];
    await first.attach(ioas);
    await second.attach(ioas);
    await first.attach(other);
    assert.equal(observe(second.ioas === other), true);
    ioas.close(); // EBUSY if the second were still attached
    second.attachSync(other);
    await second.detach();
    assert.equal(observe(first.ioas === other), true);
    // The second is detached, so the first is attached alone.
    const third = iommufd.allocIoas();
    first.attachSync(third);
    observe([first.ioas === third, second.ioas]);
    other.close();
  });

  conforms('share the page table of a PASID, too', async () => {
    const [first, second] = [await open('twin0'), await open('twin1')];
    const ioas = iommufd.allocIoas();
    const [one, other] = [await ioas.allocHwpt(first, { pasid: true }), await ioas.allocHwpt(first, { pasid: true })];
    await first.attachPasid(one, 1);
    await refuses('EINVAL', () => second.attachPasid(other, 1));
    await second.attachPasid(one, 1);
    await second.attachPasid(other, 2);
    first.attachPasidSync(other, 1);
    one.close(); // EBUSY if the second were still attached
    await first.detachPasid(1);
    other.close();
    assert.deepEqual(observe([one.closed, other.closed]), [true, true]);
  });

  conforms('are attached together or not at all', async () => {
    const [first, second] = [await open('twin0'), await open('twin1')];
    const [ioas, other] = [iommufd.allocIoas(), iommufd.allocIoas()];
    await first.attach(ioas);
    await second.attach(ioas);
    observe([first.ioas === ioas, second.ioas === ioas]);
    await second.detach();
    const error = await refuses('EINVAL', () => second.attach(other));
    unlessFailing(() => assert.match(error.message, /one page table, and 0000:06:00\.0 of this group/));
    await first.detach();
    await second.attach(other);
    assert.equal(observe(second.ioas === other), true);
  });
});
