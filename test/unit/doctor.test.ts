// What the doctor finds on other hosts, from their files: the kernel, the IOMMU, VFIO's drivers, devices and importers.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { examineHost, type Finding } from '../../lib';
import { FakeKernel } from '../../lib/fake';
import { kernelFinding } from '../../lib/host/kernel-version';
import { SmallHost } from '../hosts/small-host';

const at = '0000:01:00.0';

describe('the doctor, of a copy of a host', () => {
  let host: SmallHost;
  beforeEach(() => {
    host = new SmallHost();
    host.add(at, { driver: 'vfio-pci', group: 1, cdev: 'vfio0' });
  });
  const examine = () => examineHost({ sysfs: host.sysfs });
  const found = (check: string): Finding | undefined => examine().findings.find((finding) => finding.check === check);
  const firstBad = () => examine().findings.find(({ verdict }) => verdict === 'bad');

  it('finds nothing wrong, and does not claim what files do not show', () => {
    const { healthy, findings } = examine();
    assert(!healthy);
    assert.equal(firstBad(), undefined);
    assert.equal(found(`device ${at}`)?.verdict, 'unknown');
    assert.equal(found('map-file')?.verdict, 'unknown');
    assert.equal(findings[0]?.check, 'kernel');
  });

  it('names a kernel that is too old before everything else that is wrong', () => {
    host.drive(at, 'nvme');
    for (const release of ['6.18.9-amd64', '6.12.0', '5.15.167-generic']) {
      host.write('proc/sys/kernel/osrelease', `${release}\n`);
      const [first] = examine().findings;
      assert.deepEqual([first?.check, first?.verdict], ['kernel', 'bad'], release);
      assert.match(first?.text ?? '', new RegExp(`\\(${release}\\) is too old`));
    }
  });

  it('says what is wrong where no IOMMU is on', () => {
    host = new SmallHost();
    host.add(at, { driver: 'nvme' });
    const iommu = () => found('iommu');
    const advised = () => (iommu()?.fix ?? []).join(' ').includes('intel_iommu=on');
    host.write('proc/cmdline', 'quiet\n');
    assert(advised(), 'an Intel CPU whose tables are not seen');
    host.write('sys/firmware/acpi/tables/FACP', '');
    assert(!advised(), 'the firmware has no DMAR table');
    assert.match(iommu()?.text ?? '', /no DMAR or IVRS table.*no kernel parameter/);
    host.write('proc/cmdline', 'intel_iommu=off\n');
    assert(!advised());
    host.write('sys/firmware/acpi/tables/DMAR', '');
    assert.match(iommu()?.text ?? '', /started with intel_iommu=off/);
    host.write('proc/cmdline', 'iommu=pt\n');
    assert(advised(), 'iommu=pt switches none on');
    host.write('proc/cmdline', 'intel_iommu=on\n');
    assert(!advised());
    const amd = new SmallHost();
    amd.add(at, { driver: 'nvme' });
    amd.write('proc/cpuinfo', 'vendor_id\t: AuthenticAMD\ncpu family\t: 25\n');
    host = amd;
    host.write('sys/firmware/acpi/tables/IVRS', '');
    assert(!advised(), 'intel_iommu=on is nothing for AMD');
    assert.match(iommu()?.text ?? '', /IVRS.*CONFIG_AMD_IOMMU/);
  });

  it('knows variant drivers and their devices', () => {
    host.drive(at, 'mlx5_vfio_pci');
    assert.match(found(`device ${at}`)?.text ?? '', /bound to mlx5_vfio_pci/);
    host.write('lib/modules/7.3.4/modules.alias', 'alias vfio_pci:v000015B3d*sv*sd*bc*sc*i* mlx5_vfio_pci\n');
    assert.match(found('vfio-pci')?.text ?? '', /the driver is there, and mlx5_vfio_pci/);
  });

  it('names firmware regions and other obstacles of devices that VFIO has', () => {
    host.write('sys/kernel/iommu_groups/1/reserved_regions', '0x7a000000 0x7a7fffff direct-relaxable\n');
    assert.equal(firstBad(), undefined);
    host.write('sys/kernel/iommu_groups/1/reserved_regions', '0x7a000000 0x7a7fffff direct\n');
    assert.equal(firstBad()?.check, `device ${at}`);
    assert.match(firstBad()?.text ?? '', /firmware reserves memory/);
  });

  it('tells which drivers can import dma-bufs of VFIO', () => {
    assert.equal(found('importers'), undefined);
    host.folder('sys/module/efa');
    assert.deepEqual(
      [found('importers')?.verdict, (found('importers')?.text ?? '').includes('not: efa')],
      ['note', true],
    );
    host.folder('sys/module/mlx5_ib');
    assert.match(found('importers')?.text ?? '', /imported by mlx5_ib, .*Not: efa/);
  });
});

describe('the doctor, of a copy', () => {
  it('gives commands for the host that was copied', () => {
    const host = new SmallHost();
    const folder = host.add('0000:01:00.0', { driver: 'vfio-pci', group: 1, cdev: 'vfio0' });
    host.write(`${folder}/power_state`, 'D3cold\n');
    const report = JSON.stringify(examineHost({ sysfs: host.sysfs }));
    assert(report.includes('echo 1 > /sys/bus/pci/devices/0000:01:00.0/remove'), report);
    assert(!report.includes(host.root), report);
  });
});

describe('the doctor, of a fake kernel', () => {
  it('notes the firmware region of a device that works all the same', () => {
    using kernel = new FakeKernel();
    const address = kernel.addressOf('engine');
    const regions = `${kernel.sysfs}/bus/pci/devices/${address}/iommu_group/reserved_regions`;
    const before = examineHost({ kernel }).findings.length;
    writeFileSync(regions, '0x7a000000 0x7a7fffff direct\n');
    const { findings } = examineHost({ kernel });
    assert.equal(findings.length, before + 1);
    assert(
      findings.some(
        ({ check, verdict, text }) => check === `device ${address}` && verdict === 'note' && text.includes('firmware'),
      ),
    );
  });
});

describe('the version of a kernel', () => {
  const verdict = (release: string, exports = false) => kernelFinding(release, exports).verdict;

  it('is too old before 6.19, unless a device was seen to export', () => {
    for (const release of ['6.18.20', '6.1.0-28-amd64', '5.4.0']) assert.equal(verdict(release), 'bad', release);
    assert.equal(verdict('6.18.20', true), 'note');
  });

  it('has known faults', () => {
    const faults = (release: string) => kernelFinding(release, true).text.match(/CVE-\d+-\d+/g) ?? [];
    assert.deepEqual(faults('6.19'), ['CVE-2026-31468', 'CVE-2026-64042']);
    assert.deepEqual(faults('6.19.10-arch1-1'), ['CVE-2026-31468', 'CVE-2026-64042']);
    assert.deepEqual(faults('6.19.11'), ['CVE-2026-64042']);
    assert.deepEqual(faults('7.0.10'), ['CVE-2026-64042']);
    assert.deepEqual(faults('7.0.11'), []);
    assert.equal(verdict('7.3.4'), 'good');
    assert.equal(verdict('6.19.4'), 'note');
  });
});
