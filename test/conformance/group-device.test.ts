// A device behaves the same, whether it was opened by its character device or through its group: regions, numbers of
// interrupts, reset, hot reset, low power, dma-bufs.
import assert from 'node:assert/strict';
import { Iommufd, VfioContainer, VfioDevice } from '../../lib';
import { addressOf, reference } from '../../lib/fake';
import { barBytes, cmb, MiB, page, vram } from './rig';
import { groupOf, useContainer } from './container-rig';
import { conforms, observe, refuses } from './record';

const patience = 5000;
const address = (role: string) => addressOf(reference, role);

describe('device of a group', () => {
  const rig = useContainer('ssd', 'display', 'engine');

  conforms('tells what it is, as through its character device', () => {
    for (const role of ['ssd', 'display', 'engine']) {
      const device = rig.device(role);
      const { regions, irqs, flags } = device.info();
      observe({ regions, irqs, flags });
      observe(device.regions().map(({ index, size, flags: of }) => ({ index, size, of })));
      observe(Array.from({ length: irqs }, (_, index) => device.irqInfo(index)));
    }
  });

  conforms('has registers, memory and config space', () => {
    const display = rig.device('display');
    display.command.memory = true;
    using pages = display.region(vram.region).map({ offset: 8n * MiB, length: page });
    pages.write32(0, 0x1234_5678);
    assert.equal(barBytes(display, vram.region, 8n * MiB, 4).readUInt32LE(), 0x1234_5678);
    using registers = rig.device('engine').region(0).map();
    observe(registers.read32(0));
    const header = Buffer.alloc(16);
    display.config.read(0n, header);
    observe(header.toString('hex'));
  });

  conforms('exports dma-bufs, which IOMMUFD maps for other devices', async () => {
    const ssd = rig.device('ssd');
    ssd.command.memory = true;
    using buffer = ssd.exportDmaBuf({ region: cmb.region, offset: 0n, length: MiB });
    observe(buffer.size);
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using mapping = ioas.mapDmaBuf(buffer, { iova: MiB });
    assert.equal(mapping.state, 'live');
    await ssd.reset();
    assert.equal(mapping.state, 'revoked');
    ssd.command.memory = true;
    mapping.remap();
    assert.equal(mapping.state, 'live');
    ssd.close();
    assert.equal(mapping.state, 'revoked');
    await refuses('ENODEV', () => ioas.mapDmaBuf(buffer, { iova: 4n * MiB }));
  });

  conforms('shows what others export in another IOAS to its peers over IOMMUFD', async () => {
    rig.device('engine').close();
    const display = rig.device('display');
    display.command.memory = true;
    using buffer = display.exportDmaBuf({ region: vram.region, offset: 0n, length: page });
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using engine = await VfioDevice.open(address('engine'), { iommufd });
    await engine.attach(ioas);
    observe(ioas.mapDmaBuf(buffer, { iova: MiB }).length);
  });

  conforms('interrupts, and its interrupts are heard', async () => {
    const { msi } = rig.device('engine').interrupts;
    msi.enable();
    const counts = msi.listen(0, { signal: AbortSignal.timeout(patience) });
    msi.trigger();
    observe((await counts.next()).value);
    msi.disable();
    observe(msi.enabled);
  });

  conforms('is reset, and sleeps', async () => {
    const ssd = rig.device('ssd');
    ssd.command.busMaster = true;
    await ssd.reset();
    observe(ssd.command.busMaster);
    await ssd.enterLowPower();
    await refuses('EINVAL', () => ssd.enterLowPower());
    await ssd.exitLowPower();
    observe(ssd.probe());
  });

  conforms('is hot reset with the groups that it names', async () => {
    const display = rig.device('display');
    const { allowed, devices } = display.hotResetInfo();
    observe({ allowed, addresses: devices.map((device) => device.address) });
    assert.deepEqual(
      devices.map((device) => device.group),
      [groupOf('display')],
    );
    display.command.memory = true;
    using buffer = display.exportDmaBuf({ region: vram.region, offset: 0n, length: MiB });
    using iommufd = Iommufd.open();
    using ioas = iommufd.allocIoas();
    using mapping = ioas.mapDmaBuf(buffer);
    await display.hotReset();
    assert.equal(mapping.state, 'revoked');
    display.hotResetSync();
  });

  conforms('shares its hot reset with the other devices of its bus', async () => {
    const twin = await rig.add('twin0');
    const { allowed, devices } = twin.hotResetInfo();
    observe({ allowed, addresses: devices.map((device) => device.address) });
    assert.equal(new Set(devices.map((device) => device.group)).size, 1);
    await twin.hotReset();
  });

  conforms('whose virtual functions somebody else may have is not hot reset', async () => {
    const vfToken = '00112233-4455-6677-8899-aabbccddeeff';
    using container = VfioContainer.open();
    const physical = await VfioDevice.open(address('physical'), { container, vfToken });
    observe(physical.hotResetInfo().devices.length);
    await refuses('ERR_NOT_OWNED', () => physical.hotReset());
  });
});
