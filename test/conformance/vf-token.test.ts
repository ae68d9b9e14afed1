// SR-IOV: VF tokens. The user of the physical function sets the token that is required to open a virtual function.
import assert from 'node:assert/strict';
import { Iommufd, VfioDevice } from '../../lib';
import { conforms, observe, refuses, unlessFailing } from './record';
import { addresses } from './rig';

const token = '01234567-89ab-cdef-0123-456789abcdef';
const another = 'fedcba98-7654-3210-fedc-ba9876543210';

describe('a VF token', () => {
  let iommufd: Iommufd;
  let physical: VfioDevice;
  beforeEach(async () => {
    iommufd = Iommufd.open();
    physical = await VfioDevice.open(addresses.physical, { iommufd });
    physical.setVfToken(token);
  });
  afterEach(() => iommufd.close());

  conforms('is wanted by a virtual function: without it EACCES', async () => {
    const error = await refuses('EACCES', () => VfioDevice.open(addresses.virtual0, { iommufd }));
    unlessFailing(() => assert.match(error.message, /virtual function of 0000:05:00\.0.*pass it as vfToken/));
    await refuses('EACCES', () => VfioDevice.openSync(addresses.virtual0, { iommufd }));
  });

  conforms('that is another one: EACCES, and the error does not tell it', async () => {
    const error = await refuses('EACCES', () => VfioDevice.open(addresses.virtual0, { iommufd, vfToken: another }));
    unlessFailing(() => assert.match(error.message, /not the VF token/));
    assert(!error.message.includes(another));
    await refuses('EACCES', () => VfioDevice.openSync(addresses.virtual1, { iommufd, vfToken: another }));
  });

  conforms('that is right opens the virtual functions', async () => {
    const device = await VfioDevice.open(addresses.virtual0, { iommufd, vfToken: token });
    observe([device.address, device.id, device.config.read32(0)]);
    const other = VfioDevice.openSync(addresses.virtual1, { iommufd, vfToken: token.toUpperCase() });
    observe([other.address, other.id]);
    assert.equal(observe(device.probe().PCI_VF_TOKEN.set), false);
  });

  conforms('is given when a device is bound later, too', async () => {
    using device = await VfioDevice.open(addresses.virtual0);
    await refuses('EACCES', () => device.bind(iommufd));
    await refuses('EACCES', () => device.bind(iommufd, { vfToken: another }));
    await device.bind(iommufd, { vfToken: token });
    assert.equal(observe(device.info().pci), true);
    using second = await VfioDevice.open(addresses.virtual1);
    await refuses('EACCES', () => second.bindSync(iommufd));
    second.bindSync(iommufd, { vfToken: token });
    assert.equal(observe(second.info().pci), true);
  });

  conforms('can be changed: then the old one is refused', async () => {
    physical.setVfToken(another);
    await refuses('EACCES', () => VfioDevice.open(addresses.virtual0, { iommufd, vfToken: token }));
    const device = await VfioDevice.open(addresses.virtual0, { iommufd, vfToken: another });
    observe(device.id);
  });

  conforms('stays when the physical function is closed', async () => {
    physical.close();
    await refuses('EACCES', () => VfioDevice.open(addresses.virtual0, { iommufd }));
    observe((await VfioDevice.open(addresses.virtual0, { iommufd, vfToken: token })).id);
  });

  conforms('is wanted by the physical function, too, while virtual ones are in use', async () => {
    physical.close();
    const device = await VfioDevice.open(addresses.virtual0, { iommufd, vfToken: token });
    const error = await refuses('EACCES', () => VfioDevice.open(addresses.physical, { iommufd }));
    unlessFailing(() => assert.match(error.message, /virtual functions of this device are in use/));
    await refuses('EACCES', () => VfioDevice.open(addresses.physical, { iommufd, vfToken: another }));
    physical = await VfioDevice.open(addresses.physical, { iommufd, vfToken: token });
    observe(physical.id);
    physical.close();
    device.close();
    observe((await VfioDevice.open(addresses.physical, { iommufd })).id);
  });

  conforms('that the physical function is opened with is set, while no virtual one is in use', async () => {
    physical.close();
    physical = await VfioDevice.open(addresses.physical, { iommufd, vfToken: another });
    await refuses('EACCES', () => VfioDevice.open(addresses.virtual0, { iommufd, vfToken: token }));
    observe((await VfioDevice.open(addresses.virtual0, { iommufd, vfToken: another })).id);
  });

  conforms('lets the virtual functions go to different iommufds: each is an IOMMU group', async () => {
    using other = Iommufd.open();
    observe((await VfioDevice.open(addresses.virtual0, { iommufd, vfToken: token })).id);
    observe((await VfioDevice.open(addresses.virtual1, { iommufd: other, vfToken: token })).id);
  });

  conforms('for a device that has no use for one: EINVAL', async () => {
    const error = await refuses('EINVAL', () => VfioDevice.open(addresses.engine, { iommufd, vfToken: token }));
    unlessFailing(() => assert.match(error.message, /leave vfToken out/));
    observe((await VfioDevice.open(addresses.engine, { iommufd })).id);
  });

  conforms('is set on a physical function only: ENOTTY', async () => {
    const engine = await VfioDevice.open(addresses.engine, { iommufd });
    await refuses('ENOTTY', () => engine.setVfToken(token));
    const device = await VfioDevice.open(addresses.virtual0, { iommufd, vfToken: token });
    await refuses('ENOTTY', () => device.setVfToken(token));
  });

  conforms('cannot be set before the bind: EINVAL', async () => {
    physical.close();
    using device = await VfioDevice.open(addresses.physical);
    await refuses('EINVAL', () => device.setVfToken(token));
  });

  conforms('is a UUID', async () => {
    for (const text of ['', 'hello', token.slice(1), `${token}0`, token.replaceAll('-', '')]) {
      await refuses('ERR_OUT_OF_RANGE', () => physical.setVfToken(text));
      await refuses('ERR_OUT_OF_RANGE', () => VfioDevice.open(addresses.virtual0, { iommufd, vfToken: text }));
      await refuses('ERR_OUT_OF_RANGE', () => physical.bind(iommufd, { vfToken: text }));
    }
    await refuses('ERR_INVALID_ARG_TYPE', () => physical.setVfToken(1 as unknown as string));
  });

  conforms('virtual functions stand in the way of a hot reset: none can be had', async () => {
    const { allowed, devices } = observe(physical.hotResetInfo());
    assert.equal(allowed, false);
    assert.equal(devices.length, 3);
    await refuses('ERR_NOT_OWNED', () => physical.hotReset());
    const device = await VfioDevice.open(addresses.virtual0, { iommufd, vfToken: token });
    // Not allowed, even if both devices are bound to the same iommufd.
    assert.equal(observe(physical.hotResetInfo()).allowed, false);
    assert.equal(observe(device.hotResetInfo()).allowed, false);
    await refuses('ERR_NOT_OWNED', () => device.hotResetSync());
  });
});
