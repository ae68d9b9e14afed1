// On a kernel without dma-bufs of VFIO devices (Linux 6.12), everything older works, and errors name the missing
// feature. Run by `npm run test:vm -- --old-kernel IMAGE`.
import assert from 'node:assert/strict';
import { DmaMemory, Iommufd, KernelError, VfioContainer, VfioDevice, type Ioas } from '../../lib';
import { addressOf, reference } from '../../lib/fake';
import { Edu } from '../../examples/edu';

function failsWith(code: string, hint: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert(error instanceof KernelError);
    assert.equal(error.code, code);
    assert.match(error.hint ?? '', hint);
    return true;
  };
}

describe('a kernel without DMA-BUF export', () => {
  let iommufd: Iommufd;
  let ioas: Ioas;
  let device: VfioDevice;

  before(async () => {
    iommufd = Iommufd.open();
    ioas = iommufd.allocIoas();
    device = await VfioDevice.open(addressOf(reference, 'ssd'), { iommufd });
    await device.attach(ioas);
  });

  after(() => iommufd.close());

  it('does not know the feature when it is asked', () =>
    assert.deepEqual(device.probe('DMA_BUF'), { get: false, set: false }));

  it('refuses an export, and the error names the first release that can', () => {
    const attempt = () => device.exportDmaBuf({ region: 2, offset: 0, length: 4096 });
    assert.throws(attempt, failsWith('ENOTTY', /no VFIO DMA-BUF export.*6\.19/));
  });

  it('refuses to map files, and the error names the first releases that can', async () => {
    using memory = DmaMemory.alloc(4096);
    using buffer = memory.exportDmaBuf();
    await assert.rejects(ioas.mapFile(memory.fd, { length: 4096 }), failsWith('ENOTTY', /6\.13.*6\.19/));
    await assert.rejects(ioas.mapMemory(memory), failsWith('ENOTTY', /6\.13.*6\.19/));
    assert.throws(() => ioas.mapDmaBuf(buffer), failsWith('ENOTTY', /6\.13.*6\.19/));
  });

  it('does all the rest', async () => {
    await device.reset();
    using registers = device.region(0).map();
    assert.equal(registers.read32(8), 0x10400);
  });
});

describe('groups and containers of an older kernel', () => {
  let container: VfioContainer;
  const open = (role: string) => VfioDevice.open(addressOf(reference, role), { container });

  beforeEach(() => {
    container = VfioContainer.open();
  });
  afterEach(() => container.close());

  it('work: host memory and a peer’s BAR are mapped, and a device moves bytes between them', async () => {
    const display = await open('display');
    const engine = await open('engine');
    assert.equal(engine.through, 'group');
    assert.equal(container.iommu, 'TYPE1v2');
    display.command.memory = true;
    const bar = container.mapRegion(display.region(0), { length: 65536 });
    using memory = DmaMemory.alloc(4096);
    Buffer.from(memory.buffer).write('peer to peer');
    const { iova } = await container.mapMemory(memory);
    await new Edu(engine).copy(iova, bar.iova, 12);
    const seen = Buffer.alloc(12);
    display.region(0).read(0n, seen);
    assert.equal(seen.toString(), 'peer to peer');
    container.startDirtyTracking();
    assert.deepEqual(container.dirtyPages(iova, 4096), [{ iova, length: 4096n }]);
    container.stopDirtyTracking();
    assert.equal(container.unmap(), 69632n);
  });

  it('give devices that are reset, alone and with their bus', async () => {
    const display = await open('display');
    await display.reset();
    assert.equal(display.hotResetInfo().allowed, true);
    await display.hotReset();
    assert.deepEqual(display.probe('DMA_BUF'), { get: false, set: false });
  });
});
