// On a kernel without IOMMUFD, such as Debian's, devices are opened through their groups by default.
import assert from 'node:assert/strict';
import { DmaMemory, examineHost, Iommufd, VfioContainer, VfioDevice } from '../../lib';
import { FakeKernel, legacy } from '../../lib/fake';
import { Edu } from '../../examples/edu';

describe('a kernel without IOMMUFD', () => {
  let kernel: FakeKernel;
  beforeEach(() => {
    kernel = new FakeKernel(legacy);
  });
  afterEach(() => {
    assert.equal(kernel.openFiles, 0);
    kernel.close();
  });

  it('has neither /dev/iommu nor character devices', async () => {
    assert.throws(() => Iommufd.open({ kernel }), { code: 'ENOENT' });
    const address = kernel.addressOf('ssd');
    await assert.rejects(VfioDevice.open(address, { kernel, through: 'cdev' }), {
      code: 'ENOENT',
      hint: /VFIO_DEVICE_CDEV/,
    });
    assert.throws(() => VfioDevice.openSync('/dev/vfio/devices/vfio0', { kernel }), { code: 'ENOENT' });
  });

  it('gives its devices through their groups, and they export dma-bufs', async () => {
    using ssd = await VfioDevice.open(kernel.addressOf('ssd'), { kernel });
    assert.equal(ssd.through, 'group');
    using buffer = ssd.exportDmaBuf({ region: 2, offset: 0n, length: 65536n });
    assert.equal(buffer.size, 65536n);
    using display = VfioDevice.openSync(kernel.addressOf('display'), { kernel });
    assert.equal(display.through, 'group');
    assert.notEqual(display.container, ssd.container);
  });

  it('lets two devices of a container reach each other', async () => {
    using container = VfioContainer.open({ kernel });
    const ssd = await VfioDevice.open(kernel.addressOf('ssd'), { container });
    const engine = await VfioDevice.open(kernel.addressOf('engine'), { container });
    ssd.command.memory = true;
    const cmb = container.mapRegion(ssd.region(2), { length: 4096 });
    using memory = DmaMemory.alloc(4096, { kernel });
    Buffer.from(memory.buffer).write('peer to peer');
    const { iova } = await container.mapMemory(memory);
    await new Edu(engine).copy(iova, cmb.iova, 12);
    const seen = Buffer.alloc(12);
    ssd.region(2).read(0n, seen);
    assert.equal(seen.toString(), 'peer to peer');
    assert.deepEqual(kernel.takeFaults(), []);
  });

  it('is told of by the doctor', () => {
    const { healthy, findings } = examineHost({ kernel });
    assert.equal(healthy, false);
    assert.match(findings.find(({ check }) => check === 'iommufd')?.text ?? '', /CONFIG_IOMMUFD/);
  });
});
