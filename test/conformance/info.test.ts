// Information about a device and its regions: capabilities of info structs and of config space, features, and the parts
// of a BAR that can be mapped and exported.
import assert from 'node:assert/strict';
import { vfioFeatures, VfioDevice, type PciCapability } from '../../lib';
import { conforms, observe, refuses } from './record';
import { addresses, page, useRig } from './rig';

/** The fields of a capability that are constant while the device is used. */
function plain({ bytes, ...capability }: PciCapability) {
  // A reset of an emulated physical function clears numVfs.
  return { ...capability, size: bytes.length, ...(capability.type === 'sr-iov' && { numVfs: undefined }) };
}

describe('what a device tells', () => {
  const roles = ['engine', 'ssd', 'display', 'ports', 'physical', 'twin0', 'twin1'] as const;
  const rig = useRig(...roles);

  for (const role of roles) {
    conforms(`${role}: the capabilities in its config space`, () => {
      for (const capability of rig.device(role).pciCapabilities()) observe(plain(capability));
    });

    conforms(`${role}: every feature, asked for one by one and all at once`, () => {
      const device = rig.device(role);
      const all = observe(device.probe());
      assert.deepEqual(Object.keys(all), Object.keys(vfioFeatures));
      for (const name of Object.keys(vfioFeatures) as (keyof typeof vfioFeatures)[]) {
        assert.deepEqual(device.probe(name), all[name]);
      }
      assert.deepEqual(all.DMA_BUF, { get: true, set: false });
      assert.equal(all.PCI_VF_TOKEN.set, role === 'physical');
    });

    conforms(`${role}: which parts of its BARs can be mapped, and each can`, () => {
      for (const region of rig.device(role).regions()) {
        for (const { offset, length } of observe(region.mappableRanges())) {
          const mapped = rig.keep(region.map({ offset, length }));
          assert.equal(observe(mapped.length), length);
        }
      }
    });

    conforms(`${role}: which parts of its BARs can be exported, and each can`, () => {
      const device = rig.device(role);
      for (const region of device.regions()) {
        for (const { offset, length } of observe(region.exportableRanges())) {
          const buffer = rig.keep(device.exportDmaBuf({ region: region.index, offset, length }));
          const mapping = rig.ioas.mapDmaBuf(buffer);
          assert.equal(observe(mapping.state), 'live');
        }
      }
    });
  }

  for (const role of ['physical', 'twin0', 'twin1'] as const) {
    conforms(`${role}: info, regions and interrupts`, () => {
      const device = rig.device(role);
      observe(device.info());
      for (const { name, size, flags, capabilities } of device.regions()) observe({ name, size, flags, capabilities });
      for (let index = 0; index < 5; index += 1) observe(device.irqInfo(index));
    });

    conforms(`${role}: identification in config space`, () => {
      const { config } = rig.device(role);
      observe([config.read32(0x00), config.read32(0x08), config.read8(0x0e), config.read32(0x2c), config.read8(0x34)]);
    });
  }

  conforms('the kernel exports the MSI-X table, too: that is for the caller to leave out', () => {
    const device = rig.device('ssd');
    const msix = device.pciCapabilities().find((capability) => capability.type === 'msi-x');
    assert(msix);
    observe([msix.vectors, msix.table, msix.pendingBits]);
    assert.deepEqual(observe(device.region(msix.table.bar).exportableRanges()), [{ offset: 0n, length: 2n * page }]);
    const table = rig.keep(device.exportDmaBuf({ region: msix.table.bar, offset: msix.table.offset, length: page }));
    assert.equal(observe(rig.ioas.mapDmaBuf(table).state), 'live');
  });

  conforms('MSI-X enabled in config space is seen there', () => {
    const device = rig.device('ssd');
    const msix = () => device.pciCapabilities().find((capability) => capability.type === 'msi-x');
    observe([msix()?.enabled, msix()?.masked]);
    assert.equal(msix()?.enabled, false);
  });

  conforms('a power state that is written is seen in the capability', () => {
    const device = rig.device('ssd');
    const power = () => device.pciCapabilities().find((capability) => capability.type === 'power-management');
    const control = (power()?.offset ?? 0) + 4;
    device.config.write16(control, 3);
    assert.equal(observe(power()?.state), 3);
    device.config.write16(control, 0);
    assert.equal(observe(power()?.state), 0);
  });

  conforms('a physical function with virtual ones cannot be put to sleep', () => {
    const device = rig.device('physical');
    const power = () => device.pciCapabilities().find((capability) => capability.type === 'power-management');
    device.config.write16((power()?.offset ?? 0) + 4, 3);
    assert.equal(observe(power()?.state), 0);
  });

  conforms('unbound, nothing can be asked: EINVAL', async () => {
    using device = await VfioDevice.open(addresses.virtual0);
    await refuses('EINVAL', () => device.probe());
    await refuses('EINVAL', () => device.probe('DMA_BUF'));
    await refuses('EINVAL', () => device.pciCapabilities());
  });
});

describe('a BAR that is smaller than a page', () => {
  const rig = useRig('twin1');
  const size = 0x100n;

  conforms('can be mapped, as far as it goes', async () => {
    const region = rig.device('twin1').region(0);
    observe([region.size, region.flags, region.mappableRanges()]);
    const mapped = rig.keep(region.map());
    assert.equal(observe(mapped.length), size);
    assert.equal(observe(mapped.read32(0x40)), region.read32(0x40));
    await refuses('ERR_OUT_OF_RANGE', () => mapped.read32(Number(size)));
    await refuses('ERR_OUT_OF_RANGE', () => region.map({ length: page }));
  });

  conforms('is mapped from a page’s start on: EINVAL, or not at all', async () => {
    const region = rig.device('twin1').region(0);
    await refuses('EINVAL', () => region.map({ offset: 0x10n }));
    await refuses('EINVAL', () => region.map({ length: 0n }));
    assert.equal(observe(rig.keep(region.map({ length: 0x10n })).length), 0x10n);
  });

  conforms('cannot be exported: EINVAL', async () => {
    const device = rig.device('twin1');
    assert.deepEqual(observe(device.region(0).exportableRanges()), []);
    await refuses('EINVAL', () => device.exportDmaBuf({ region: 0, offset: 0n, length: page }));
    await refuses('EINVAL', () => device.exportDmaBuf({ region: 0, offset: 0n, length: size }));
  });

  conforms('is read and written through the kernel to its end', async () => {
    const region = rig.device('twin1').region(0);
    const bytes = new Uint8Array(16);
    assert.equal(observe(region.read(size - 8n, bytes)), 8);
    await refuses('EINVAL', () => region.read(size, bytes));
  });
});

describe('features that the devices of this machine do not have', () => {
  const rig = useRig('engine');

  conforms('the bus master feature is of CDX: ENOTTY', async () => {
    const { message } = await refuses('ENOTTY', () => rig.device('engine').setBusMaster(true));
    assert.match(message, /command\.busMaster/);
    await refuses('ENOTTY', () => rig.device('engine').setBusMaster(false));
    await refuses('ERR_INVALID_ARG_TYPE', () => rig.device('engine').setBusMaster(1 as unknown as boolean));
  });

  conforms('errors of PCI functions are told on s390: ENOTTY', () =>
    refuses('ENOTTY', () => rig.device('engine').zpciError()),
  );

  conforms('unbound: EINVAL', async () => {
    using device = await VfioDevice.open(addresses.ports);
    await refuses('EINVAL', () => device.zpciError());
    await refuses('EINVAL', () => device.setBusMaster(true));
  });
});
