// Opening an iommufd, and its IOASes.
import assert from 'node:assert/strict';
import { Iommufd, VfioDevice } from '../../lib';
import { conforms, observe, refuses } from './record';
import { addresses, page, useRig } from './rig';

describe('iommufd', () => {
  conforms('opens, gives a file descriptor, and closes twice without complaint', () => {
    const iommufd = Iommufd.open();
    assert(iommufd.fd > 2);
    iommufd.close();
    iommufd.close();
    assert.equal(observe(iommufd.closed), true);
  });

  conforms('throws ERR_CLOSED from everything after close', async () => {
    const iommufd = Iommufd.open();
    iommufd.close();
    await refuses('ERR_CLOSED', () => iommufd.fd);
    await refuses('ERR_CLOSED', () => iommufd.allocIoas());
    await refuses('ERR_CLOSED', () => VfioDevice.open(addresses.ssd, { iommufd }));
  });

  conforms('names a missing device file', () =>
    refuses('ENOENT', () => Iommufd.open({ path: '/dev/iommufd-is-elsewhere' })),
  );

  conforms('numbers its objects from 1, lowest free first', () => {
    using iommufd = Iommufd.open();
    const ids = [iommufd.allocIoas(), iommufd.allocIoas(), iommufd.allocIoas()];
    observe(ids.map(({ id }) => id));
    ids[1]?.close();
    assert.equal(observe(iommufd.allocIoas().id), ids[1]?.id);
  });

  conforms('works through a duplicate of its fd', () => {
    using iommufd = Iommufd.open();
    using copy = Iommufd.fromFd(iommufd.fd);
    iommufd.close();
    assert.equal(observe(copy.allocIoas().id), 1);
  });

  conforms('refuses an fd that is not open', () => refuses('EBADF', () => Iommufd.fromFd(0x7fff_0000)));

  conforms('is no device: VFIO ioctls on it are unknown', async () => {
    using iommufd = Iommufd.open();
    using device = await VfioDevice.open(iommufd.fd);
    await refuses('ENOTTY', () => device.info());
  });
});

describe('ioas', () => {
  const rig = useRig('engine', 'ssd');

  conforms('can map everything at any alignment while nothing is attached', () => {
    const { ranges, alignment } = observe(rig.ioas.iovaRanges());
    assert.deepEqual(ranges, [{ start: 0n, last: 0xffff_ffff_ffff_ffffn }]);
    assert.equal(alignment, 1n);
  });

  conforms('narrows to what the IOMMU can do with the first device, and widens again', async () => {
    await rig.device('engine').attach(rig.ioas);
    const { ranges, alignment } = observe(rig.ioas.iovaRanges());
    assert.equal(alignment, page);
    assert.equal(ranges.length, 2, 'the window of interrupt messages is left out');
    await rig.device('ssd').attach(rig.ioas);
    observe(rig.ioas.iovaRanges());
    rig.device('engine').detachSync();
    observe(rig.ioas.iovaRanges());
    rig.device('ssd').detachSync();
    assert.equal(observe(rig.ioas.iovaRanges()).alignment, 1n);
  });

  conforms('throws ERR_CLOSED after destroy, and destroys twice without complaint', async () => {
    const ioas = rig.iommufd.allocIoas();
    ioas.destroy();
    ioas.destroy();
    await refuses('ERR_CLOSED', () => ioas.iovaRanges());
    await refuses('ERR_CLOSED', () => ioas.unmap());
    await refuses('ERR_CLOSED', () => rig.device('engine').attach(ioas));
  });

  conforms('detaches its devices when it is closed', async () => {
    const ioas = rig.iommufd.allocIoas();
    await rig.device('engine').attach(ioas);
    ioas.close();
    assert.equal(rig.device('engine').ioas, undefined);
  });

  conforms('unmapping everything where nothing is mapped is no error', () =>
    assert.equal(observe(rig.ioas.unmap()), 0n),
  );

  conforms('unmapping where nothing is mapped: ENOENT', () =>
    refuses('ENOENT', () => rig.ioas.unmap(0x1000n, 0x1000n)),
  );

  conforms('unmapping a range that overflows: EOVERFLOW', () =>
    refuses('EOVERFLOW', () => rig.ioas.unmap(0xffff_ffff_ffff_f000n, 0x2000n)),
  );

  conforms('is bound to its iommufd: a device of another one cannot attach', async () => {
    using other = Iommufd.open();
    const ioas = other.allocIoas();
    await refuses('ERR_OTHER_IOMMUFD', () => rig.device('engine').attach(ioas));
    // Through a duplicate, the library cannot recognize the iommufd, and the kernel looks up the id.
    using copy = Iommufd.fromFd(other.fd);
    const ids = Array.from({ length: 8 }, () => copy.allocIoas());
    await refuses('ENOENT', () => rig.device('engine').attach(ids.at(-1) ?? ioas));
  });
});
