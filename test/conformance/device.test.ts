// Opening and binding a device, and its information.
import assert from 'node:assert/strict';
import { readlinkSync } from 'node:fs';
import { DmaMemory, Iommufd, VfioDevice } from '../../lib';
import { conforms, observe, refuses, unlessFailing } from './record';
import { addresses, useRig } from './rig';

describe('opening a device', () => {
  let iommufd: Iommufd;
  beforeEach(() => {
    iommufd = Iommufd.open();
  });
  afterEach(() => iommufd.close());

  conforms('by its PCI address', async () => {
    const device = await VfioDevice.open(addresses.engine, { iommufd });
    assert.equal(observe(device.address), addresses.engine);
    assert.equal(observe(device.id), 1);
    assert.equal(device.iommufd, iommufd);
  });

  conforms('by its PCI address in short, waiting', () => {
    const device = VfioDevice.openSync(addresses.engine.slice('0000:'.length), { iommufd });
    assert.equal(observe(device.address), addresses.engine);
  });

  conforms('by the path of its character device', async () => {
    using first = VfioDevice.openSync(addresses.engine);
    const number = /vfio(\d+)/.exec(readlinkSync(`/proc/self/fd/${String(first.fd)}`))?.[1];
    first.close();
    // The fake kernel's fds have other targets, and it numbers its devices in the machine's order.
    const device = await VfioDevice.open(`/dev/vfio/devices/vfio${number ?? '2'}`, { iommufd });
    assert.equal(observe(device.config.read32(0)), 0x11e8_1234);
  });

  conforms('by an fd that was handed over, bound or not', async () => {
    using mine = await VfioDevice.open(addresses.engine);
    using theirs = await VfioDevice.open(mine.fd, { iommufd });
    observe(theirs.address);
    unlessFailing(() => assert.equal(theirs.address, addresses.engine));
    assert.equal(observe(mine.config.read32(0)), observe(theirs.config.read32(0)));
    using third = await VfioDevice.open(theirs.fd);
    assert.equal(observe(third.info().regions), 9);
  });

  conforms('unbound, everything but bind is refused: EINVAL', async () => {
    using device = await VfioDevice.open(addresses.engine);
    await refuses('EINVAL', () => device.info());
    await refuses('EINVAL', () => device.region(0));
    await refuses('EINVAL', () => device.irqInfo(0));
    await refuses('EINVAL', () => device.reset());
    await refuses('EINVAL', () => device.attach(iommufd.allocIoas()));
    await refuses('EINVAL', () => device.exportDmaBuf({ region: 0, offset: 0, length: 4096 }));
  });

  conforms('binding later', async () => {
    using device = await VfioDevice.open(addresses.engine);
    await device.bind(iommufd);
    assert.equal(observe(device.info().pci), true);
  });

  conforms('binding twice: EINVAL', async () => {
    const device = await VfioDevice.open(addresses.engine, { iommufd });
    await refuses('EINVAL', () => device.bind(iommufd));
    await refuses('EINVAL', () => device.bindSync(iommufd));
  });

  conforms('binding a device that another open has bound: EINVAL, and nothing stays open', async () => {
    const device = await VfioDevice.open(addresses.engine, { iommufd });
    await refuses('EINVAL', () => VfioDevice.open(addresses.engine, { iommufd }));
    await refuses('EINVAL', () => VfioDevice.openSync(addresses.engine, { iommufd }));
    device.close();
    using again = await VfioDevice.open(addresses.engine, { iommufd });
    assert.equal(observe(again.id), 1);
  });

  conforms('binding to what is no iommufd: EBADFD', async () => {
    using memory = DmaMemory.alloc(4096);
    using other = Iommufd.fromFd(memory.fd);
    await refuses('EBADFD', () => VfioDevice.open(addresses.engine, { iommufd: other }));
    await refuses('ENOTTY', () => other.allocIoas());
  });

  conforms('a device that is not there', () =>
    refuses('ERR_NO_SUCH_DEVICE', () => VfioDevice.open('0000:7f:1f.7', { iommufd })),
  );

  conforms('a device that is not bound to vfio-pci', async () => {
    const error = await refuses('ERR_NOT_BOUND_TO_VFIO', () => VfioDevice.open('0000:00:01.0', { iommufd }));
    assert.match(error.message, /driver_override/);
  });

  conforms('an address that is none', async () => {
    await refuses('ERR_OUT_OF_RANGE', () => VfioDevice.open('hello', { iommufd }));
    await refuses('ERR_INVALID_ARG_TYPE', () => VfioDevice.open(undefined as unknown as string, { iommufd }));
  });

  conforms('a character device that is not there: ENOENT', () =>
    refuses('ENOENT', () => VfioDevice.open('/dev/vfio/devices/vfio999', { iommufd })),
  );

  conforms('closing the iommufd closes its devices', async () => {
    const device = await VfioDevice.open(addresses.engine, { iommufd });
    iommufd.close();
    assert.equal(observe(device.closed), true);
    await refuses('ERR_CLOSED', () => device.info());
    device.close();
  });

  conforms('closing gives the device back at once', async () => {
    for (let i = 0; i < 3; i += 1) {
      const device = await VfioDevice.open(addresses.ports, { iommufd });
      observe(device.id);
      device.close();
      device.close();
    }
  });
});

describe('a device', () => {
  const rig = useRig('engine', 'ssd', 'display', 'ports');

  for (const role of ['engine', 'ssd', 'display', 'ports'] as const) {
    conforms(`${role}: info, regions and interrupts`, () => {
      const device = rig.device(role);
      observe(device.info());
      for (const { name, size, flags, capabilities } of device.regions()) observe({ name, size, flags, capabilities });
      for (let index = 0; index < 5; index += 1) observe(device.irqInfo(index));
    });

    conforms(`${role}: identification in config space`, () => {
      const { config } = rig.device(role);
      observe([config.read32(0x00), config.read32(0x08), config.read32(0x2c), config.read8(0x34), config.read8(0x3d)]);
    });
  }

  conforms('a region or interrupt index that does not exist: EINVAL', async () => {
    const device = rig.device('engine');
    for (const index of [8, 9, 100]) await refuses('EINVAL', () => device.region(index));
    await refuses('EINVAL', () => device.irqInfo(5));
  });

  conforms('a BAR that the device does not have has no size', () => {
    const region = rig.device('engine').region(3);
    assert.equal(observe(region.size), 0n);
    observe(region.flags);
  });

  conforms('probes features', () => {
    const device = rig.device('ssd');
    const features = [
      'DMA_BUF',
      'LOW_POWER_ENTRY',
      'LOW_POWER_EXIT',
      'PCI_VF_TOKEN',
      'MIGRATION',
      'BUS_MASTER',
    ] as const;
    for (const feature of features) observe([feature, device.probe(feature)]);
    assert.deepEqual(device.probe('DMA_BUF'), { get: true, set: false });
  });

  conforms('a feature that nobody knows', () =>
    refuses('ERR_OUT_OF_RANGE', () => rig.device('ssd').probe('TELEPORT' as 'DMA_BUF')),
  );

  conforms('attaches, moves to another IOAS, and detaches twice', async () => {
    const device = rig.device('engine');
    const other = rig.keep(rig.iommufd.allocIoas());
    await device.attach(rig.ioas);
    assert.equal(device.ioas, rig.ioas);
    await device.attach(rig.ioas);
    device.attachSync(other);
    assert.equal(device.ioas, other);
    assert.equal(observe(rig.ioas.iovaRanges().alignment), 1n);
    await device.detach();
    await device.detach();
    assert.equal(device.ioas, undefined);
  });

  conforms('cannot attach where mappings are in the way: EADDRINUSE', async () => {
    const buffer = rig.exported('ssd', 2, 4096n);
    rig.ioas.mapDmaBuf(buffer, { iova: 0xfee0_0000n });
    await refuses('EADDRINUSE', () => rig.device('engine').attach(rig.ioas));
    rig.ioas.unmap();
    await rig.device('engine').attach(rig.ioas);
  });

  conforms('resets, waiting or not, and keeps its command register', async () => {
    const device = rig.device('ssd');
    device.command.busMaster = true;
    await device.reset();
    observe(device.command.value);
    device.resetSync();
    observe(device.command.value);
  });

  conforms('command register: bits are set one by one', () => {
    const { command } = rig.device('engine');
    observe(command.value);
    command.busMaster = true;
    assert.equal(observe(command.busMaster), true);
    assert.equal(observe(command.memory), true);
    command.intxDisable = true;
    observe(command.value);
    command.intxDisable = false;
    command.ioSpace = false;
    observe([command.ioSpace, command.memory, command.busMaster, command.intxDisable]);
    command.ioSpace = true;
    command.busMaster = false;
    observe(command.value);
  });

  conforms('command register: only some bits can be written', () => {
    const { command } = rig.device('engine');
    command.value = 0xffff;
    observe(command.value);
    command.value = 0x0103;
    observe(command.value);
  });
});

describe('two devices', () => {
  conforms('have numbers of their own in one iommufd', async () => {
    using iommufd = Iommufd.open();
    const [a, b] = await Promise.all([
      VfioDevice.open(addresses.ssd, { iommufd }),
      VfioDevice.open(addresses.engine, { iommufd }),
    ]);
    assert.deepEqual(observe([a.id, b.id].sort()), [1, 2]);
  });
});
