// The diagnostics channel publishes each ioctl.
import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { setImmediate as turn } from 'node:timers/promises';
import { DmaMemory, ioctlChannel, Iommufd, VfioDevice, type IoctlMessage } from '../../lib';
import { FakeKernel } from '../../lib/fake';

describe('the diagnostics channel', () => {
  const kernel = new FakeKernel();
  const seen: IoctlMessage[] = [];
  const listen = (message: unknown) => seen.push(message as IoctlMessage);
  const names = () => seen.splice(0).map(({ ioctl }) => ioctl);

  beforeEach(() => {
    seen.length = 0;
  });
  afterEach(() => unsubscribe(ioctlChannel, listen));
  after(() => kernel.close());

  it('tells every ioctl with its file, result and time, in the next turn of the event loop', async () => {
    subscribe(ioctlChannel, listen);
    using iommufd = Iommufd.open({ kernel });
    const before = process.hrtime.bigint();
    using ioas = iommufd.allocIoas();
    await turn();
    const after = process.hrtime.bigint();
    assert.equal(seen.length, 1);
    const [{ start, duration, ...rest }] = seen as [IoctlMessage];
    assert.deepEqual(rest, {
      ioctl: 'IOMMU_IOAS_ALLOC',
      fd: iommufd.fd,
      file: '/dev/iommu',
      result: 0,
      code: undefined,
      dropped: 0,
    });
    assert(before <= start && start + BigInt(duration) <= after);
    assert(!ioas.closed);
  });

  it('tells what was refused, on pool threads too, and the hot calls', async () => {
    const iommufd = Iommufd.open({ kernel });
    subscribe(ioctlChannel, listen);
    const device = await VfioDevice.open(kernel.addressOf('ssd'), { iommufd });
    await assert.rejects(device.bind(iommufd), { code: 'EINVAL' });
    await turn();
    const binds = seen.filter(({ ioctl }) => ioctl === 'VFIO_DEVICE_BIND_IOMMUFD');
    assert.deepEqual(
      binds.map(({ result, code, file }) => [result, code, file]),
      [
        [0, undefined, '/dev/vfio/devices/vfio0'],
        [-22, 'EINVAL', '/dev/vfio/devices/vfio0'],
      ],
    );
    device.command.memory = true;
    await turn();
    names();
    const ioas = iommufd.allocIoas();
    const dmaBuf = device.exportDmaBuf({ region: 2, offset: 0, length: 4096 });
    dmaBuf.beginCpuAccess();
    ioas.mapDmaBuf(dmaBuf).close();
    dmaBuf.close();
    await turn();
    assert.deepEqual(names(), [
      'IOMMU_IOAS_ALLOC',
      'VFIO_DEVICE_FEATURE_DMA_BUF',
      'DMA_BUF_IOCTL_SYNC',
      'IOMMU_IOAS_MAP_FILE',
      'IOMMU_IOAS_UNMAP',
    ]);
    iommufd.close();
  });

  it('says nothing when nobody listens any more, and how many were dropped when too many wait', async () => {
    using iommufd = Iommufd.open({ kernel });
    using ioas = iommufd.allocIoas();
    using memory = DmaMemory.alloc(4096);
    subscribe(ioctlChannel, listen);
    for (let i = 0; i < 40_000; i += 1) ioas.mapMemorySync(memory).close();
    await turn();
    assert.equal(seen.length, 65_536);
    assert.equal(seen.at(-1)?.dropped, 80_000 - 65_536);
    names();
    unsubscribe(ioctlChannel, listen);
    ioas.mapMemorySync(memory).close();
    await turn();
    assert.deepEqual(names(), []);
  });
});
