// Mediated devices: opening by UUID, attaching without an IOMMU, and the properties of Linux's sample devices.
import assert from 'node:assert/strict';
import { DmaMemory, Iommufd, VfioDevice } from '../../lib';
import { conforms, observe, refuses } from './record';
import { addresses, useRig } from './rig';

const mdevs = ['serial', 'serialSingle', 'framebuffer', 'panel'] as const;

describe('opening a mediated device', () => {
  let iommufd: Iommufd;
  beforeEach(() => {
    iommufd = Iommufd.open();
  });
  afterEach(() => iommufd.close());

  conforms('by its UUID', async () => {
    const device = await VfioDevice.open(addresses.serial, { iommufd });
    assert.equal(observe(device.address), addresses.serial);
    assert.equal(observe(device.id), 1);
  });

  conforms('by its UUID in capitals, waiting', () => {
    const device = VfioDevice.openSync(addresses.serial.toUpperCase(), { iommufd });
    assert.equal(observe(device.address), addresses.serial);
  });

  conforms('by an fd that was handed over', async () => {
    using mine = await VfioDevice.open(addresses.panel);
    using theirs = await VfioDevice.open(mine.fd, { iommufd });
    observe(theirs.config.read32(0));
    assert.equal(mine.config.read32(0), 0x000f_1b36);
  });

  conforms('of a UUID that no device has', async () => {
    const error = await refuses('ERR_NO_SUCH_DEVICE', () =>
      VfioDevice.open('6d646576-0000-4000-8000-ffffffffffff', { iommufd }),
    );
    assert.match(error.message, /mdev_supported_types/);
  });

  conforms('twice: EINVAL', async () => {
    const device = await VfioDevice.open(addresses.serial, { iommufd });
    await refuses('EINVAL', () => VfioDevice.open(addresses.serial, { iommufd }));
    device.close();
    using again = await VfioDevice.open(addresses.serial, { iommufd });
    observe(again.id);
  });

  conforms('unbound, everything but bind is refused: EINVAL', async () => {
    using device = await VfioDevice.open(addresses.serial);
    await refuses('EINVAL', () => device.info());
    await refuses('EINVAL', () => device.migration.capabilities());
    await refuses('EINVAL', () => device.migration.state);
    await refuses('EINVAL', () => device.migration.setState('stop'));
    await refuses('EINVAL', () => device.migration.dataSize());
    await refuses('EINVAL', () => device.migration.enableReinit());
    await refuses('EINVAL', () => device.dmaLogging.start({ ranges: [{ iova: 0, length: 4096 }], pageSize: 4096 }));
    await refuses('EINVAL', () => device.dmaLogging.stop());
    await refuses('EINVAL', () => device.dmaLogging.report({ iova: 0, length: 4096, pageSize: 4096 }));
    await refuses('EINVAL', () => device.gfx.plane('primary', { kind: 'dma-buf' }));
    await refuses('EINVAL', () => device.gfx.dmaBuf(1));
    assert.deepEqual(observe(device.gfx.probe()), { dmaBuf: false, region: false });
  });
});

describe('a mediated device', () => {
  const rig = useRig(...mdevs);

  for (const role of mdevs) {
    conforms(`${role}: info, regions and config space`, () => {
      const device = rig.device(role);
      observe(device.info());
      for (const { index, name, size, flags, capabilities } of device.regions()) {
        observe({ index, name, size, flags, capabilities });
      }
      const config = Buffer.alloc(252);
      assert.equal(observe(device.config.read(0, config)), 252);
      observe(config.toString('hex'));
    });

    conforms(`${role}: features`, () => {
      const device = rig.device(role);
      for (const feature of [
        'PCI_VF_TOKEN',
        'MIGRATION',
        'MIG_DEVICE_STATE',
        'LOW_POWER_ENTRY',
        'DMA_LOGGING_START',
        'DMA_LOGGING_STOP',
        'DMA_LOGGING_REPORT',
        'MIG_DATA_SIZE',
        'BUS_MASTER',
        'DMA_BUF',
        'MIG_PRECOPY_INFOv2',
      ] as const) {
        observe([feature, device.probe(feature)]);
      }
    });

    conforms(`${role}: the size of BAR 0 as config space tells it, and what else can be written there`, () => {
      const { config } = rig.device(role);
      config.write32(0x10, 0xffff_ffff);
      observe(config.read32(0x10));
      config.write32(0x10, 0xc000_0000);
      observe(config.read32(0x10));
      config.write32(0x10, 0);
      config.write16(0x04, 0xffff);
      observe([config.read16(0x04), config.read32(0x0c)]);
    });
  }

  conforms('interrupts', async () => {
    for (const role of ['serial', 'framebuffer'] as const) {
      const device = rig.device(role);
      device.info();
      await refuses('EINVAL', () => device.irqInfo(5));
    }
    const serial = rig.device('serial');
    for (const index of [0, 1]) observe(serial.irqInfo(index));
    for (const index of [2, 3, 4]) await refuses('EINVAL', () => serial.irqInfo(index));
    observe(rig.device('framebuffer').irqInfo(0));
  });

  conforms('has regions that no PCI device has', async () => {
    const edid = rig.device('framebuffer').region(9);
    assert.deepEqual(observe(edid.capabilities), [
      { type: 'type', regionType: 1, regionSubtype: 1, vendor: undefined, name: 'gfx-edid' },
    ]);
    observe([0, 4, 8, 12, 16, 20].map((offset) => edid.read32(offset)));
    edid.write32(20, 1);
    edid.write32(0, 77);
    assert.equal(observe(edid.read32(20)), 1);
    assert.equal(observe(edid.read32(0)), 2048);
    edid.write32(20, 0);
    const picture = rig.device('panel').region(16);
    observe({ size: picture.size, flags: picture.flags });
    await refuses('EINVAL', () => rig.device('panel').region(9));
    await refuses('EINVAL', () => rig.device('serial').region(9));
  });

  conforms('a display shows what its registers say', () => {
    const registers = rig.device('framebuffer').region(2);
    observe([0x500, 0x514].map((offset) => registers.read16(offset)));
    registers.write16(0x502, 640);
    assert.equal(observe(registers.read16(0x502)), 640);
    observe([registers.read8(0x502), registers.read32(0x500), registers.read16(0x516)]);
    rig.device('framebuffer').resetSync();
    assert.equal(observe(registers.read16(0x502)), 0);
  });

  conforms('where it has nothing: EFAULT', async () => {
    await refuses('EFAULT', () => rig.device('serial').region(6).read(0, new Uint8Array(4)));
    await refuses('EFAULT', () => rig.device('serial').region(8).write(0, new Uint8Array(4)));
    await refuses('EFAULT', () => rig.device('framebuffer').region(2).read(0x50_0000n, new Uint8Array(4)));
    await refuses('EFAULT', () => rig.device('panel').config.read(1024, new Uint8Array(4)));
  });

  conforms('maps its video memory from the start only', async () => {
    const memory = rig.device('framebuffer').region(0);
    const mapped = rig.keep(memory.map({ length: 16384n }));
    mapped.write32(0x2000, 0x1234_5678);
    // In the sample, offsets of reads and writes start at the third page.
    assert.equal(observe(memory.read32(0)), 0x1234_5678);
    memory.write32(0x1000, 0x9abc_def0);
    assert.equal(observe(mapped.read32(0x3000)), 0x9abc_def0);
    await refuses('EINVAL', () => memory.map({ offset: 4096n, length: 4096n }));
    await refuses('EINVAL', () => rig.device('framebuffer').region(2).map());
    await refuses('EINVAL', () => rig.device('serial').region(0).map({ length: 8 }));
    const panel = rig.keep(rig.device('panel').region(0).map());
    observe([0, 100, 479].map((line) => panel.read32(line * 2560)));
    panel.write32(0, 0x55);
    assert.equal(observe(rig.device('panel').region(0).read32(0x8000)), 0x55);
    await rig.device('panel').reset();
    assert.equal(observe(panel.read32(0)), 0);
  });

  conforms('attaches to an IOAS, which then wants whole pages', async () => {
    const device = rig.device('serial');
    assert.equal(observe(rig.ioas.iovaRanges().alignment), 1n);
    await device.attach(rig.ioas);
    await device.attach(rig.ioas);
    observe(rig.ioas.iovaRanges());
    await rig.device('panel').attach(rig.ioas);
    device.detachSync();
    assert.equal(observe(rig.ioas.iovaRanges().alignment), 4096n);
    await rig.device('panel').detach();
    await rig.device('panel').detach();
    assert.equal(observe(rig.ioas.iovaRanges().alignment), 1n);
  });

  conforms('moves from one IOAS to another', async () => {
    const device = rig.device('serial');
    const other = rig.keep(rig.iommufd.allocIoas());
    await device.attach(rig.ioas);
    await device.attach(other);
    assert.equal(device.ioas, other);
    observe([rig.ioas.iovaRanges().alignment, other.iovaRanges().alignment]);
  });

  conforms('cannot attach where a mapping is no whole page: EADDRINUSE', async () => {
    const device = rig.device('serial');
    rig.ioas.mapMemorySync(rig.keep(DmaMemory.alloc(4096)), { iova: 0x10_0000n, length: 512 });
    await refuses('EADDRINUSE', () => device.attach(rig.ioas));
    rig.ioas.unmap();
    await device.attach(rig.ioas);
  });

  conforms('has no hot reset, low power or export: ENOTTY', async () => {
    const device = rig.device('framebuffer');
    await refuses('ENOTTY', () => device.hotResetInfo());
    await refuses('ENOTTY', () => device.enterLowPower());
    await refuses('ENOTTY', () => device.exitLowPowerSync());
    await refuses('ENOTTY', () => device.exportDmaBuf({ region: 0, offset: 0, length: 4096 }));
  });

  conforms('a serial port sends to itself', () => {
    const port = rig.device('serial').region(0);
    port.write8(3, 0x03);
    port.write8(2, 7);
    port.write8(0, 0x61);
    port.write8(0, 0x62);
    observe([1, 2, 3, 4, 5, 6, 7].map((register) => port.read8(register)));
    assert.deepEqual(observe([port.read8(0), port.read8(0)]), [0x61, 0x62]);
    observe(port.read8(5));
    port.write8(3, 0x80);
    port.write8(0, 0x34);
    port.write8(1, 0x12);
    assert.deepEqual(observe([port.read8(0), port.read8(1), port.read8(3)]), [0x34, 0x12, 0x80]);
    port.write8(3, 0x03);
    port.write8(1, 0xff);
    observe([port.read8(1), port.read8(2)]);
    for (const value of [0x20, 0x23]) {
      port.write8(4, value);
      observe([port.read8(4), port.read8(6)]);
    }
    for (const register of [1, 4]) port.write8(register, 0);
    port.write8(2, 6);
    port.write8(0, 1);
    port.write8(0, 2);
    observe([port.read8(5), port.read8(6)]);
    port.write8(2, 7);
  });
});
