// What keeps VFIO from a device whatever driver it has: firmware regions, BARs without addresses, framebuffers of the
// firmware, controllers that carry other devices, devices that do not answer.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { planBind, PciTopology } from '../../../lib';
import { hintFor } from '../../../lib/hints';
import { likelyUse } from '../../../lib/pci/names';
import { SmallHost } from '../../hosts/small-host';

const at = '0000:01:00.0';
const word = (value: bigint) => `0x${value.toString(16).padStart(16, '0')}`;
const resource = (...bars: [bigint, bigint, bigint][]) => bars.map((bar) => bar.map(word).join(' ')).join('\n');

describe('what keeps VFIO from a device', () => {
  let host: SmallHost;
  let kernel: { sysfs: string };
  beforeEach(() => {
    host = new SmallHost();
    kernel = { sysfs: host.sysfs };
  });
  const objections = (address = at) => planBind(address, { sysfs: host.sysfs }).objections;
  const reserve = (...lines: string[]) =>
    host.write('sys/kernel/iommu_groups/1/reserved_regions', `${lines.join('\n')}\n`);

  describe('a firmware region', () => {
    const msi = '0x00000000fee00000 0x00000000feefffff msi';
    const direct = '0x000000007a000000 0x000000007a7fffff direct';
    beforeEach(() => {
      host.add(at, { driver: 'nvme', group: 1 });
    });

    it('is an objection before, with its addresses and what can be done', () => {
      reserve(msi);
      assert.deepEqual(objections(), []);
      reserve(direct, msi);
      const [text = '', ...more] = objections();
      assert.deepEqual(more, []);
      assert.match(text, /IOMMU group 1 \(0x7a000000-0x7a7fffff, type direct.*EINVAL.*firmware's setup.*another slot/);
    });

    it('is no objection if the kernel may relax it', () => {
      reserve(`${direct}-relaxable`, msi);
      assert.deepEqual(objections(), []);
    });

    it('explains EINVAL at bind, of the device and of its group', () => {
      const hint = (call: string) =>
        hintFor(call, 'EINVAL', { device: at, group: 1 }, { kernel, isBound: () => false });
      for (const call of ['VFIO_DEVICE_BIND_IOMMUFD', 'VFIO_GROUP_SET_CONTAINER']) {
        reserve(`${direct}-relaxable`);
        assert.doesNotMatch(hint(call) ?? '', /firmware/, call);
        reserve(direct);
        assert.match(hint(call) ?? '', /firmware reserves memory .*0x7a000000/, call);
      }
    });

    it('keeps devices from sharing an I/O address space', () => {
      host.drive(at, 'vfio-pci');
      host.folder(`sys/bus/pci/devices/${at}/vfio-dev/vfio0`);
      const possible = () => PciTopology.read(kernel).sharedIoas([at]);
      reserve(`${direct}-relaxable`);
      assert(possible().possible);
      reserve(direct);
      assert.match(possible().objections[0]?.text ?? '', /firmware reserves memory/);
    });
  });

  it('BARs without a bus address: by flag or by address, one or more', () => {
    const files = (text: string) => ({ files: { resource: text, class: '0x030200' }, driver: 'nvidia', group: 1 });
    host.add(at, files(resource([0xa000_0000n, 0xa0ff_ffffn, 0x4_0200n])));
    assert.deepEqual(objections(), []);
    const none: [bigint, bigint, bigint] = [0n, 0n, 0n];
    host.add(at, files(resource(none, [0n, 0x1f_ffff_ffffn, 0x2014_220cn], none, [0n, 0x1ff_ffffn, 0x14_220cn])));
    assert.match(objections()[0] ?? '', /^BARs 1, 3 of the device have no bus address.*Above 4G/);
    const found = PciTopology.read(kernel).find(at);
    for (const bar of found.bars) assert.equal(likelyUse(found, bar), undefined);
  });

  describe("the firmware's framebuffer", () => {
    const bar = resource([0xc000_0000n, 0xcfff_ffffn, 0x4_0200n], [0xd000_0000n, 0xd0ff_ffffn, 0x4_0200n]);
    const iomem = (name: string) =>
      host.write(
        'proc/iomem',
        'c0000000-d0ffffff : PCI Bus 0000:01\n  c0000000-cfffffff : 0000:01:00.0\n' +
          `    c0000000-c07e8fff : ${name}\n  d0000000-d0ffffff : 0000:01:00.0\n`,
      );

    it('is named, with its addresses and the kernel parameter', () => {
      host.add(at, { driver: 'nouveau', group: 1, files: { resource: bar, class: '0x030000' } });
      for (const name of ['BOOTFB', 'efifb', 'simplefb', 'vesafb', 'efidrm', 'simple-framebuffer.0']) {
        iomem(name);
        const [text = '', ...more] = objections();
        assert.deepEqual(more, []);
        assert.match(text, new RegExp(`^BAR 0, 0xc0000000-0xc07e8fff in /proc/iomem, is reserved by ${name},`));
        assert.match(text, /initcall_blacklist=sysfb_init/);
      }
      host.folder('sys/bus/platform/drivers/simple-framebuffer/simple-framebuffer.0');
      assert.match(objections()[0] ?? '', /platform device simple-framebuffer\.0/);
    });

    it("is not what the device's own driver has, or VFIO", () => {
      host.add(at, { driver: 'nouveau', group: 1, files: { resource: bar } });
      iomem('nouveau');
      assert.deepEqual(objections(), []);
      iomem('another name of the driver');
      assert.deepEqual(objections(), []);
      host.drive(at, undefined);
      assert.match(objections()[0] ?? '', /reserved by another name of the driver: unbind/);
      iomem('vfio-pci');
      assert.deepEqual(objections(), []);
    });

    it('explains ENODEV of an export, and EBUSY of reads and maps', () => {
      host.add(at, { driver: 'vfio-pci', group: 1, cdev: 'vfio0', files: { resource: bar } });
      const hint = (call: string, code: string, region: number) =>
        hintFor(call, code, { device: at, region }, { kernel });
      iomem('BOOTFB');
      for (const [call, code] of [
        ['VFIO_DEVICE_FEATURE_DMA_BUF', 'ENODEV'],
        ['mmap', 'EBUSY'],
        ['pread', 'EBUSY'],
        ['pwrite', 'EBUSY'],
        ['VFIO_DEVICE_IOEVENTFD', 'EBUSY'],
      ] as const) {
        assert.match(hint(call, code, 0) ?? '', /reserved by BOOTFB/, call);
        assert.doesNotMatch(hint(call, code, 1) ?? '', /BOOTFB/, call);
      }
    });

    it('is not seen without root, who alone sees the addresses', () => {
      host.add(at, { driver: 'vfio-pci', group: 1, cdev: 'vfio0', files: { resource: bar } });
      host.write('proc/iomem', '00000000-00000000 : 0000:01:00.0\n  00000000-00000000 : BOOTFB\n');
      const hint = hintFor('VFIO_DEVICE_FEATURE_DMA_BUF', 'ENODEV', { device: at, region: 0 }, { kernel });
      assert.match(hint ?? '', /another driver may have it.*\/proc\/iomem/);
    });
  });

  describe('a controller that carries devices (VMD)', () => {
    const vmd = '0000:00:0e.0';
    const drive = '10000:e1:00.0';
    beforeEach(() => {
      host.add(vmd, { driver: 'vmd', group: 1, files: { class: '0x010400' } });
      const below = `pci0000:00/${vmd}/pci10000:e0`;
      host.add('10000:e0:06.0', { below, driver: 'pcieport', group: 1, files: { class: '0x060400' } });
      host.add(drive, { below: `${below}/10000:e0:06.0`, driver: 'nvme', group: 1 });
    });

    it('is named as such when it is to be bound, with what is behind it', () => {
      assert.match(
        objections(vmd).join('\n'),
        /0000:00:0e\.0 is a controller that carries 10000:e0:06\.0, 10000:e1:00\.0/,
      );
    });

    it('is never advised to be bound for the sake of what is behind it', () => {
      assert.match(objections(drive).join('\n'), /behind 0000:00:0e\.0 \(Intel VMD\).*Switch VMD off/);
      host.drive(drive, 'vfio-pci');
      const hint = hintFor('VFIO_DEVICE_BIND_IOMMUFD', 'EPERM', { device: drive }, { kernel }) ?? '';
      assert.match(hint, /driver vmd has 0000:00:0e\.0\..*switch VMD off/);
      assert.doesNotMatch(hint, /driver_override/);
    });
  });

  it('a virtual function answers: its IDs in config space are ones', () => {
    const folder = host.add(at, { driver: 'iavf', group: 1 });
    const config = Buffer.alloc(4096);
    config.fill(0xff, 0, 4);
    config.writeUInt32LE(0x02000001, 8);
    writeFileSync(join(host.root, folder, 'config'), config);
    assert.deepEqual(objections(), []);
  });

  it('a device without power', () => {
    const folder = host.add(at, { driver: 'nvme', group: 1 });
    host.write(`${folder}/power_state`, 'D3cold\n');
    assert.match(objections()[0] ?? '', /does not answer \(it has no power \(D3cold\)/);
    host.write(`${folder}/power_state`, 'D3hot\n');
    assert.deepEqual(objections(), []);
  });

  it('a device that does not answer', () => {
    host.add(at, { driver: 'nvme', group: 1 });
    const config = join(host.sysfs, 'bus/pci/devices', at, 'config');
    writeFileSync(config, Buffer.alloc(256));
    assert.deepEqual(objections(), []);
    writeFileSync(config, Buffer.alloc(256, 0xff));
    assert.match(objections()[0] ?? '', /does not answer .*all ones/);
  });
});
