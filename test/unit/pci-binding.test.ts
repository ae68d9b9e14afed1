// A bind that fails halfway restores the device's previous state.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, symlinkSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { bindToVfio, PeerSpace } from '../../lib';
import { FakeKernel } from '../../lib/fake';

describe('a bind that fails', () => {
  let kernel: FakeKernel;
  let address: string;
  let folder: string;
  let driver: string;
  beforeEach(() => {
    kernel = new FakeKernel();
    address = kernel.addressOf('display');
    folder = join(kernel.sysfs, 'bus/pci/devices', address);
    driver = join(kernel.sysfs, 'bus/pci/drivers/bochs-drm');
    mkdirSync(driver);
    unlinkSync(join(folder, 'driver'));
    symlinkSync(driver, join(folder, 'driver'));
  });
  afterEach(() => kernel.close());
  const isAsBefore = () => {
    assert.equal(readFileSync(join(folder, 'driver_override'), 'utf8'), '\n');
    assert(!existsSync(join(kernel.sysfs, '../run/vfio-dmabuf/drivers', address)));
  };

  it('is undone: nobody takes the device here', () => {
    assert.throws(() => bindToVfio(address, { sysfs: kernel.sysfs }), { code: 'ERR_NOT_BOUND' });
    isAsBefore();
  });

  it('is undone when a peer space is opened', async () => {
    const devices = [kernel.addressOf('ssd'), address];
    await assert.rejects(PeerSpace.open({ devices, bind: true, kernel }), { code: 'ERR_NOT_BOUND' });
    isAsBefore();
  });
});
