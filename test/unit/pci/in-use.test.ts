// The uses of a device that a change of its driver would interrupt, and who has it. Processes of these hosts have real
// device files open (/dev/null, /dev/zero, …), whose numbers the devices of the hosts have.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, constants, mkdirSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { planBind, planUnbind } from '../../../lib';
import { refusedExclusively } from '../../../lib/pci/disks';
import { afterwards } from '../../cleanup';
import { SmallHost } from '../../hosts/small-host';
import { itNeeds, mkfifo } from '../../needs';

const at = '0000:01:00.0';
const nullDevice = '1:3';

describe('a device in use', () => {
  let host: SmallHost;
  beforeEach(() => {
    host = new SmallHost();
  });
  const objections = (address = at) => planBind(address, { sysfs: host.sysfs }).objections;
  /** Adds a device file below the function. */
  const node = (folder: string, path: string, number = nullDevice) =>
    host.write(`${folder}/${path}/dev`, `${number}\n`);

  it('is open, through whatever its driver has made of it: the processes are named', () => {
    const kinds: [driver: string, path: string][] = [
      ['amdgpu', 'drm/renderD128'],
      ['nvme', 'nvme/nvme0'],
      ['mlx5_core', 'infiniband_verbs/uverbs0'],
      ['snd_hda_intel', 'sound/card0/pcmC0D0p'],
      ['xhci_hcd', 'usb1/1-1/1-1:1.0/ttyUSB0/tty/ttyUSB0'],
      ['habanalabs', 'accel/accel0'],
    ];
    for (const [i, [driver, path]] of kinds.entries()) {
      const address = `0000:0${String(i)}:00.0`;
      const folder = host.add(address, { driver, group: i });
      node(folder, path);
      assert.deepEqual(objections(address), [], driver);
    }
    host.process(4711, 'qemu-system-x86', { 0: '/dev/zero', 3: '/dev/null' });
    host.process(4712, 'idle', { 0: '/dev/zero', 1: 'pipe:[17]' });
    for (const [i, [, path]] of kinds.entries()) {
      assert.deepEqual(objections(`0000:0${String(i)}:00.0`), [
        `it is open by PID 4711 (qemu-system-x86), through /dev/${path.split('/').at(-1) ?? ''}`,
      ]);
    }
  });

  it('is not in use by who has a disk of the same number open, as that is another device', () => {
    const folder = host.add(at, { driver: 'nvme', group: 1 });
    host.process(7, 'cat', { 3: '/dev/null' });
    host.write(`${folder}/nvme/nvme0/nvme0n1/dev`, '1:3\n');
    host.folder(`${folder}/nvme/nvme0/nvme0n1/queue`);
    assert.deepEqual(objections(), []);
    host.write(`${folder}/nvme/nvme0/ng0n1/dev`, '1:3\n');
    assert.deepEqual(objections(), ['it is open by PID 7 (cat), through /dev/ng0n1']);
  });

  it('is open through files that sysfs has elsewhere: NVIDIA, KFD', () => {
    host.add(at, { driver: 'nvidia', group: 1 });
    host.write(`proc/driver/nvidia/gpus/${at}/information`, 'Model: \t\t X\nDevice Minor: \t 0\n');
    host.add('0000:02:00.0', { driver: 'amdgpu', group: 2 });
    host.write('sys/class/kfd/kfd/dev', `${nullDevice}\n`);
    host.process(12, 'python3', { 3: '/dev/null' });
    assert.deepEqual(objections('02:00.0'), []);
    host.write('sys/class/kfd/kfd/topology/nodes/1/properties', 'simd_count 304\nlocation_id 512\ndomain 0\n');
    assert.deepEqual(objections('02:00.0'), ['it is open by PID 12 (python3), through /dev/kfd']);
    assert.deepEqual(objections(), []);
  });

  it('is held through VFIO: by its character device, its group, an anonymous fd of the group', () => {
    const folder = host.add(at, { driver: 'vfio-pci', group: 5, cdev: 'vfio0' });
    const held = () => planUnbind(at, { sysfs: host.sysfs }).objections;
    host.process(21, 'qemu', { 9: '/dev/null' });
    assert.deepEqual(held(), []);
    host.write(`${folder}/vfio-dev/vfio0/dev`, `${nullDevice}\n`);
    assert.deepEqual(held(), ['it is open by PID 21 (qemu), through /dev/vfio/devices/vfio0']);
    host.write(`${folder}/vfio-dev/vfio0/dev`, '511:0\n');
    host.write('sys/class/vfio/5/dev', `${nullDevice}\n`);
    assert.deepEqual(held(), ['it is open by PID 21 (qemu), through /dev/vfio/5']);
    host.write('sys/class/vfio/5/dev', '510:5\n');
    host.process(22, 'spdk_tgt', { 12: 'anon_inode:[vfio-device]' });
    host.write('proc/22/fdinfo/12', 'pos:\t0\nvfio-device-syspath: /sys/devices/pci0000:00/0000:01:00.1\n');
    assert.deepEqual(held(), []);
    host.write('proc/22/fdinfo/12', `pos:\t0\nvfio-device-syspath: /${folder}\n`);
    assert.deepEqual(held(), ['it is open by PID 22 (spdk_tgt), through a VFIO device fd of its group']);
  });

  it('is held by a thread whose process has lost its first thread, and by a mapping', () => {
    const folder = host.add(at, { driver: 'vfio-pci', group: 5, cdev: 'vfio0' });
    host.write(`${folder}/vfio-dev/vfio0/dev`, `${nullDevice}\n`);
    const held = () => planUnbind(at, { sysfs: host.sysfs }).objections;
    host.process(30, 'worker', {});
    mkdirSync(join(host.root, 'proc/30/task/30/fd'), { recursive: true });
    host.link('/dev/null', 'proc/30/task/31/fd/4');
    assert.deepEqual(held(), ['it is open by PID 30 (worker), through /dev/vfio/devices/vfio0']);
    host.write('proc/30/comm', 'gone\n');
    host.link('/dev/zero', 'proc/30/task/31/fd/4');
    assert.deepEqual(held(), []);
    host.write('proc/31/comm', 'mapper\n');
    host.write(
      'proc/31/maps',
      '7f0000000000-7f0000001000 r-xp 00000000 fe:00 12 /dev/null\n7f0000001000-7f0000002000 rw-s 00000000 00:05 77 /dev/null\n',
    );
    assert.deepEqual(held(), ['it is open by PID 31 (mapper), through a mapping of /dev/vfio/devices/vfio0']);
  });

  describe('a disk', () => {
    beforeEach(() => {
      const folder = host.add(at, { driver: 'nvme', group: 1 });
      host.write(`${folder}/nvme/nvme0/nvme0n1/dev`, '259:0\n');
      host.link(`${folder}/nvme/nvme0/nvme0n1`, 'sys/class/block/nvme0n1');
      host.write('proc/self/mountinfo', '');
    });

    it('that this machine gives to others: NVMe targets, pass-through, SCSI targets, loop devices', () => {
      const target = 'sys/kernel/config/nvmet/subsystems/nqn.test';
      host.write(`${target}/namespaces/3/device_path`, '/dev/nvme0n1\n');
      host.write(`${target}/namespaces/3/enable`, '0\n');
      assert.deepEqual(objections(), []);
      host.write(`${target}/namespaces/3/enable`, '1\n');
      assert.deepEqual(objections(), ['disk nvme0n1 is namespace 3 of the NVMe target nqn.test']);
      host.write(`${target}/namespaces/3/device_path`, '/dev/nvme1n1\n');
      host.write(`${target}/passthru/device_path`, '/dev/nvme0\n');
      host.write(`${target}/passthru/enable`, '1\n');
      assert.deepEqual(objections(), ['drive nvme0 is what the NVMe target nqn.test passes through']);
      host.write(`${target}/passthru/enable`, '0\n');
      host.write('sys/kernel/config/target/core/iblock_0/lun/udev_path', '/dev/nvme0n1\n');
      assert.deepEqual(objections(), ["disk nvme0n1 is the SCSI target's iblock_0/lun"]);
      host.write('sys/kernel/config/target/core/iblock_0/lun/udev_path', '\n');
      host.write('sys/class/block/loop3/loop/backing_file', '/dev/nvme0n1\n');
      assert.deepEqual(objections(), ['disk nvme0n1 is behind loop3']);
    });

    itNeeds([mkfifo], 'that does not answer costs a bounded time, and is named', () => {
      const paths = ['/dev/null', join(host.root, 'silent'), '/dev/zero'];
      assert.equal(spawnSync('mkfifo', [paths[1] ?? '']).status, 0);
      afterwards(() => {
        closeSync(openSync(paths[1] ?? '', constants.O_RDWR | constants.O_NONBLOCK)); // ends the process that waits
      });
      const began = performance.now();
      assert.deepEqual([...refusedExclusively(paths, 1500)], [[paths[1], undefined]]);
      assert(performance.now() - began < 5000);
      assert.deepEqual([...refusedExclusively(['/dev/null', '/dev/zero'])], []);
    });

    it('that is mounted through what is on top of it', () => {
      host.folder('sys/class/block/nvme0n1/holders/dm-3');
      host.write('sys/class/block/dm-3/dm/name', 'vg-root\n');
      host.write('sys/class/block/dm-3/dev', '253:3\n');
      host.write('proc/self/mountinfo', '22 1 253:3 / /srv rw - ext4 /dev/mapper/vg-root rw\n');
      assert.deepEqual(objections(), ['disk nvme0n1 is part of dm-3 (vg-root), mounted on /srv']);
    });

    it('of another host is not in use by what this host has mounted', () => {
      host.write('sys/class/block/nvme0n1/dev', '0:1\n');
      assert.deepEqual(objections(), []);
      host.write('proc/self/mountinfo', '22 1 0:1 / /data rw - ext4 /dev/nvme0n1 rw\n');
      assert.deepEqual(objections(), ['disk nvme0n1 is mounted on /data']);
    });
  });

  it('network interfaces: up, with the default route, part of a bridge, in a container', () => {
    const folder = host.add(at, { driver: 'mlx5_core', group: 1 });
    const eth = `${folder}/net/eth7`;
    host.write(`${eth}/flags`, '0x1003\n');
    host.link(eth, 'sys/class/net/eth7');
    assert.deepEqual(objections(), ['network interface eth7 is up']);
    host.write('proc/net/route', 'Iface\tDestination\tGateway\nx\n');
    const columns = ['eth7', '00000000', '0100A8C0', '0003', '0', '0', '100', '00000000', '0', '0', '0'];
    host.write('proc/net/route', `Iface\tDestination\n${columns.join('\t')}\n`);
    assert.deepEqual(objections(), ['network interface eth7 is up and has the default route']);
    host.write(`${eth}/flags`, '0x1002\n');
    host.folder('sys/devices/virtual/net/br0');
    host.link('sys/devices/virtual/net/br0', `${eth}/master`);
    host.folder(`${eth}/upper_br0`);
    host.folder(`${eth}/upper_eth7.12`);
    assert.deepEqual(objections(), ['network interface eth7 is part of br0', 'network interface eth7 carries eth7.12']);
    host.add('0000:02:00.0', { driver: 'mlx5_core', group: 2 });
    host.process(77, 'containerd-shim', {});
    host.folder('proc/self/ns');
    host.link('/net:[1]', 'proc/self/ns/net');
    host.link('/net:[2]', 'proc/77/ns/net');
    host.write('proc/77/root/sys/devices/pci0000:00/0000:02:00.0/net/eth0/flags', '0x1003\n');
    host.link('proc/77/root/sys/devices/pci0000:00/0000:02:00.0/net/eth0', 'proc/77/root/sys/class/net/eth0');
    assert.deepEqual(objections('02:00.0'), [
      'network interface eth0 is up in the network namespace of PID 77 (containerd-shim)',
    ]);
  });

  it('virtual functions: how many, which are held, by whom', () => {
    const folder = host.add(at, { driver: 'mlx5_core', group: 1 });
    for (const i of [1, 2, 3]) {
      const vf = host.add(`0000:01:00.${String(i)}`, {
        group: 10 + i,
        ...(i < 3 && { driver: 'vfio-pci', cdev: `vfio${String(i)}` }),
      });
      host.link(vf, `${folder}/virtfn${String(i - 1)}`);
    }
    host.write('sys/bus/pci/devices/0000:01:00.2/vfio-dev/vfio2/dev', `${nullDevice}\n`);
    host.process(99, 'qemu', { 5: '/dev/null' });
    const text =
      'its 3 virtual functions would go; with a driver: 0000:01:00.1 (vfio-pci), 0000:01:00.2 (vfio-pci: open by PID 99 ' +
      '(qemu), through /dev/vfio/devices/vfio2)';
    assert.deepEqual(objections(), [text]);
    host.drive(at, 'vfio-pci');
    host.folder(`sys/bus/pci/devices/${at}/vfio-dev/vfio0`);
    assert.deepEqual(planUnbind(at, { sysfs: host.sysfs }).objections, [text]);
  });

  it('companions of its IOMMU group: which driver has them, and what uses them', () => {
    host.add(at, { driver: 'nvidia', group: 1 });
    const audio = host.add('0000:01:00.1', { driver: 'snd_hda_intel', group: 1 });
    host.add('0000:00:01.0', { driver: 'pcieport', group: 1 });
    node(audio, 'sound/card1/controlC1');
    host.process(1234, 'pipewire', { 8: '/dev/null' });
    assert.deepEqual(objections(), [
      'VFIO needs all devices of IOMMU group 1, and another driver has 0000:01:00.1 (driver snd_hda_intel: open by PID 1234 ' +
        '(pipewire), through /dev/controlC1): bind those in the same command',
    ]);
    const { objections: none } = planBind(at, { sysfs: host.sysfs, together: ['01:00.0', '01:00.1'] });
    assert.deepEqual(none, []);
  });
});
