// IOMMU groups, VFIO's older interface for opening devices.
import assert from 'node:assert/strict';
import { closeSync, openSync } from 'node:fs';
import { Iommufd, VfioContainer, VfioDevice, VfioGroup } from '../../lib';
import { addressOf, reference } from '../../lib/fake';
import { ContainerRig, groupOf } from './container-rig';
import { conforms, observe, refuses, unlessFailing } from './record';

const address = (role: string) => addressOf(reference, role);

describe('an IOMMU group', () => {
  const rig = new ContainerRig([]);
  beforeEach(() => rig.start());
  afterEach(() => rig.stop());

  conforms('tells whether it is viable, and whether it is in a container', async () => {
    const group = rig.group('engine');
    assert.deepEqual(observe(group.status()), { viable: true, containerSet: false });
    await group.setContainer(rig.container);
    assert.deepEqual(observe(group.status()), { viable: true, containerSet: true });
    assert.equal(group.container, rig.container);
    await group.unsetContainer();
    assert.deepEqual(observe(group.status()), { viable: true, containerSet: false });
    assert.equal(group.container, undefined);
  });

  conforms('is opened by its number, its path or a device in it', () => {
    const number = groupOf('engine');
    for (const target of [number, `/dev/vfio/${String(number)}`, address('engine')]) {
      using group = VfioGroup.open(target);
      assert.equal(group.number, number);
      assert(group.fd > 2);
    }
  });

  conforms('is open once at a time: EBUSY', async () => {
    const group = rig.group('engine');
    await refuses('EBUSY', () => VfioGroup.open(group.number));
    group.close();
    VfioGroup.open(group.number).close();
  });

  conforms('that VFIO has no device of: ENOENT', async () => {
    await refuses('ENOENT', () => VfioGroup.open(9999));
    await refuses('ERR_NO_SUCH_DEVICE', () => VfioGroup.open('0000:7f:00.0'));
  });

  conforms('and a bound character device exclude each other: EBUSY', async () => {
    using iommufd = Iommufd.open();
    const device = rig.keep(await VfioDevice.open(address('engine'), { iommufd }));
    await refuses('EBUSY', () => VfioGroup.open(address('engine')));
    device.close();
    const group = rig.group('engine');
    await refuses('EBUSY', () => VfioDevice.open(address('engine'), { iommufd, through: 'cdev' }));
    group.close();
    (await VfioDevice.open(address('engine'), { iommufd })).close();
  });

  conforms('has its devices only once it is in a container with an IOMMU: EINVAL', async () => {
    const group = rig.group('engine');
    const open = () => VfioDevice.open(address('engine'), { group });
    await refuses('EINVAL', open);
    group.setContainerSync(rig.container);
    await refuses('EINVAL', open);
    await rig.container.setIommu();
    using device = await open();
    assert.equal(device.through, 'group');
    assert.equal(device.group, group);
    assert.equal(device.container, rig.container);
  });

  conforms('does not have the devices of another: ENODEV', async () => {
    const group = rig.group('engine');
    group.setContainerSync(rig.container);
    rig.container.setIommuSync();
    await refuses('ENODEV', () => VfioDevice.open(address('ssd'), { group }));
    await refuses('ENODEV', () => VfioDevice.openSync(address('twin0'), { group }));
  });

  conforms('is in one container: EINVAL; and in none that is no container: EBADFD', async () => {
    const group = rig.group('engine');
    await refuses('EINVAL', () => group.unsetContainer());
    await group.setContainer(rig.container);
    using other = VfioContainer.open();
    await refuses('EINVAL', () => group.setContainer(other));
    await refuses('EINVAL', () => group.setContainerSync(rig.container));
    await refuses('ERR_INVALID_ARG_TYPE', () => group.setContainer(group as never));
  });

  conforms('cannot leave while a device of it is open: EBUSY', async () => {
    const group = rig.group('engine');
    group.setContainerSync(rig.container);
    rig.container.setIommuSync();
    const device = await VfioDevice.open(address('engine'), { group });
    await refuses('EBUSY', () => group.unsetContainer());
    device.close();
    group.unsetContainerSync();
    await refuses('EINVAL', () => group.unsetContainerSync());
  });

  conforms('of two devices hands out both, and each several times', async () => {
    assert.equal(groupOf('twin0'), groupOf('twin1'));
    const group = rig.group('twin0');
    group.setContainerSync(rig.container);
    rig.container.setIommuSync();
    const one = await VfioDevice.open(address('twin0'), { group });
    const two = await VfioDevice.open(address('twin1'), { group });
    const again = await VfioDevice.open(address('twin0'), { group });
    observe([one, two, again].map((device) => device.info()));
    one.close();
    observe(again.info());
    await refuses('EBUSY', () => group.unsetContainer());
    group.close();
    assert([two, again].every((device) => device.closed));
  });

  conforms('can go into an iommufd, whose IOAS its devices are attached to', async () => {
    using iommufd = Iommufd.open();
    const group = rig.group('engine');
    await group.setContainer(iommufd);
    assert.deepEqual(observe(group.status()), { viable: true, containerSet: true });
    observe(iommufd.getVfioIoas() !== undefined);
    await refuses('EINVAL', () => group.setContainer(rig.container));
    const device = await VfioDevice.open(address('engine'), { group });
    assert.equal(device.iommufd, iommufd);
    observe(device.info());
    device.close();
    await group.unsetContainer();
    observe(group.status());
  });

  conforms('in an iommufd without an IOAS for it hands out nothing: ENODEV', async () => {
    using iommufd = Iommufd.open();
    const group = rig.group('engine');
    await group.setContainer(iommufd);
    iommufd.setVfioIoas(undefined);
    await refuses('ENODEV', () => VfioDevice.open(address('engine'), { group }));
  });

  conforms('leaves with its container, and throws ERR_CLOSED from everything after close', async () => {
    const group = rig.group('engine');
    await group.setContainer(rig.container);
    rig.container.close();
    assert(group.closed);
    await refuses('ERR_CLOSED', () => group.status());
    await refuses('ERR_CLOSED', () => group.fd);
    await refuses('ERR_CLOSED', () => group.setContainer(rig.container));
    await refuses('ERR_CLOSED', () => group.unsetContainer());
    await refuses('ERR_CLOSED', () => VfioDevice.open(address('engine'), { group }));
    group.close();
    await group[Symbol.asyncDispose]();
  });

  conforms('is given by a number, a path or an address', async () => {
    for (const wrong of [-1, 1.5, 2 ** 31, '/dev/vfio/vfio', '/dev/vfio/x', 'engine']) {
      await refuses('ERR_OUT_OF_RANGE', () => VfioGroup.open(wrong));
    }
    await refuses('ERR_INVALID_ARG_TYPE', () => VfioGroup.open({} as never));
  });
});

describe('VFIO device opened through its group', () => {
  conforms('gets a container of its own, with an IOMMU, which goes with it', async () => {
    using device = await VfioDevice.open(address('engine'), { through: 'group' });
    const { container, group } = device;
    assert.equal(device.through, 'group');
    assert.equal(container?.iommu, 'TYPE1v2');
    observe(group?.status());
    observe(container.info().iovaRanges);
    device.close();
    assert(container.closed);
    assert.equal(group?.closed, true);
    const sync = VfioDevice.openSync(address('engine'), { through: 'group' });
    await sync[Symbol.asyncDispose]();
    VfioDevice.openSync(address('engine'), { through: 'group' }).close();
  });

  conforms('shares the group with the other devices of it, and keeps it for the last', async () => {
    using container = VfioContainer.open();
    const [one, two] = await Promise.all(
      ['twin0', 'twin1'].map((role) => VfioDevice.open(address(role), { container })),
    );
    assert(one && two);
    const { group } = two;
    assert(group && one.group === group);
    one.close();
    assert.equal(group.closed, false);
    observe(two.info());
    two.close();
    assert(group.closed);
    assert.equal(container.closed, false);
    assert.equal(container.iommu, undefined);
  });

  conforms('is bound to nothing, and cannot be', async () => {
    using device = await VfioDevice.open(address('engine'), { through: 'group' });
    using iommufd = Iommufd.open();
    await refuses('EINVAL', () => device.bind(iommufd));
    using ioas = iommufd.allocIoas();
    await refuses('ENOTTY', () => device.attach(ioas));
    await refuses('ENOTTY', () => device.detach());
  });

  conforms('wants its iommufd to be where the group is', async () => {
    using iommufd = Iommufd.open();
    using device = await VfioDevice.open(address('engine'), { iommufd, through: 'group' });
    assert.equal(device.iommufd, iommufd);
    assert.equal(device.group?.container, iommufd);
    iommufd.close();
    assert(device.closed);
  });

  conforms('is opened by an fd that was handed over', async () => {
    using device = await VfioDevice.open(address('engine'), { through: 'group' });
    using same = await VfioDevice.open(device.fd);
    unlessFailing(() => assert.equal(same.address, address('engine')));
    observe(same.info());
  });

  conforms('a VF token is wanted and taken there, too', async () => {
    const vfToken = '00112233-4455-6677-8899-aabbccddeeff';
    const container = VfioContainer.open();
    try {
      await VfioDevice.open(address('physical'), { container, vfToken });
      await refuses('EACCES', () => VfioDevice.open(address('virtual0'), { container }));
      const wrong = vfToken.replace('0', '1');
      await refuses('EACCES', () => VfioDevice.open(address('virtual0'), { container, vfToken: wrong }));
      observe((await VfioDevice.open(address('virtual0'), { container, vfToken })).info().regions);
      await refuses('EINVAL', () => VfioDevice.open(address('engine'), { container, vfToken }));
    } finally {
      container.close();
    }
  });

  conforms('leaves nothing open when it fails', async () => {
    using held = VfioGroup.open(address('engine'));
    const fds = () => {
      const fd = openSync('/dev/null', 'r');
      closeSync(fd);
      return fd;
    };
    const before = fds();
    await refuses('EBUSY', () => VfioDevice.open(address('engine'), { through: 'group' }));
    await refuses('EBUSY', () => VfioDevice.openSync(address('engine'), { through: 'group' }));
    assert.equal(fds(), before);
    assert.equal(held.closed, false);
  });

  conforms('takes options that suit each other', async () => {
    using container = VfioContainer.open();
    using iommufd = Iommufd.open();
    await refuses('ERR_OUT_OF_RANGE', () => VfioDevice.open(address('engine'), { container, iommufd }));
    await refuses('ERR_OUT_OF_RANGE', () => VfioDevice.open(address('engine'), { container, through: 'cdev' }));
    await refuses('ERR_OUT_OF_RANGE', () => VfioDevice.open(address('engine'), { through: 'door' as never }));
    container.close();
    await refuses('ERR_CLOSED', () => VfioDevice.open(address('engine'), { container }));
  });
});
