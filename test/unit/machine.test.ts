// The descriptions of machines.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { VfioDevice, Iommufd } from '../../lib';
import { addressOf, FakeKernel, machines, qemuArguments, reference, type Machine } from '../../lib/fake';

describe('a machine', () => {
  it('has QEMU arguments with every device behind its own root port, after the IOMMU', () => {
    const args = qemuArguments(reference);
    const devices = args.filter((_, i) => args[i - 1] === '-device').map((device) => device.split(',')[0]);
    assert.deepEqual(devices, [
      'intel-iommu',
      ...['pcie-root-port', 'nvme', 'pcie-root-port', 'bochs-display'],
      ...['pcie-root-port', 'edu', 'pcie-root-port', 'pci-testdev'],
      ...['pcie-root-port', 'nvme-subsys', 'nvme'],
      ...['pcie-root-port', 'bochs-display', 'sdhci-pci'],
      ...['pcie-root-port', 'nvme'],
    ]);
  });

  it('names its devices by role', () => {
    assert.equal(addressOf(reference, 'ssd'), '0000:01:00.0');
    assert.throws(() => addressOf(reference, 'toaster'), RangeError);
    assert.equal(machines['reference'], reference);
  });

  it('has a sysfs tree', () => {
    using kernel = new FakeKernel(reference);
    const folder = join(kernel.sysfs, 'bus/pci/devices', kernel.addressOf('ssd'));
    assert.equal(readFileSync(join(folder, 'vendor'), 'utf8'), '0x1b36\n');
    assert.equal(readFileSync(join(folder, 'class'), 'utf8'), '0x010802\n');
    assert.equal(basename(readlinkSync(join(folder, 'driver'))), 'vfio-pci');
    assert.deepEqual(readdirSync(join(folder, 'vfio-dev')), ['vfio0']);
    assert.equal(readFileSync(join(folder, 'config')).readUInt32LE(0), 0x0010_1b36);
    const [bar0, , bar2] = readFileSync(join(folder, 'resource'), 'utf8').split('\n');
    assert.match(bar0 ?? '', /0x0000000000140204$/);
    assert.match(bar2 ?? '', /0x000000000014220c$/);
    kernel.close();
    assert(!existsSync(kernel.sysfs));
  });

  it('can be another one', async () => {
    const pair: Machine = {
      name: 'pair',
      ports: [
        { role: 'one', kind: 'nvme' },
        { role: 'two', kind: 'nvme' },
      ],
      iommu: { lastIova: 0xffff_ffffn, reserved: [] },
    };
    using kernel = new FakeKernel(pair);
    using iommufd = Iommufd.open({ kernel });
    using ioas = iommufd.allocIoas();
    using device = await VfioDevice.open(kernel.addressOf('two'), { iommufd });
    await device.attach(ioas);
    assert.deepEqual(ioas.iovaRanges().ranges, [{ start: 0n, last: 0xffff_ffffn }]);
    assert.equal(kernel.openFiles, 2);
    iommufd.close();
    assert.equal(kernel.openFiles, 0);
  });

  it('is independent of others', async () => {
    using a = new FakeKernel();
    using b = new FakeKernel();
    using onA = Iommufd.open({ kernel: a });
    using device = await VfioDevice.open(a.addressOf('engine'), { iommufd: onA });
    using onB = Iommufd.open({ kernel: b });
    using same = await VfioDevice.open(b.addressOf('engine'), { iommufd: onB });
    device.command.busMaster = true;
    assert.equal(same.command.busMaster, false);
  });
});
