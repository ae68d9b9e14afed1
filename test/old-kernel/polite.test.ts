// On a kernel from before the feature (Linux 6.12) everything older works, and what is missing says so. Run by
// `npm run test:vm -- --old-kernel IMAGE`.
import assert from 'node:assert/strict';
import { DmaMemory, Iommufd, KernelError, VfioDevice, type Ioas } from '../../lib';
import { addressOf, reference } from '../../lib/fake';

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

  after(() => {
    iommufd.close();
  });

  it('does not know the feature when it is asked', () => {
    assert.deepEqual(device.probe('DMA_BUF'), { get: false, set: false });
  });

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
