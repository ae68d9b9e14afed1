// `vfio-dmabuf run`: programs that others wrote, from Debian's packages.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { program, python, itNeeds, type Need } from '../../needs';
import { canRun, compile, output, run, x86 } from './programs';

const dpdk: Need = () =>
  program('pkg-config')() ??
  (spawnSync('pkg-config', ['--exists', 'libdpdk']).status === 0 ? undefined : 'DPDK (libdpdk) is not installed');

function packageOptions(name: string): string[] {
  const { stdout } = spawnSync('pkg-config', ['--cflags', '--libs', name], { encoding: 'utf8' });
  return stdout.trim().split(/\s+/);
}

const noHugePages = [
  '--no-huge',
  '-m',
  '64',
  '--no-telemetry',
  '--iova-mode=va',
  '--base-virtaddr=0x1000000000',
  '-l',
  '0',
];

describe('vfio-dmabuf run: programs of others', function () {
  this.timeout(120_000);

  itNeeds([x86, program('lspci')], 'lspci reads the devices and their config space', () => {
    const told = output('lspci', '-vv', '-nn', '-s', '01:00.0');
    assert.match(told, /^01:00\.0 .* \[0108\].* \[1b36:0010\] \(rev 02\) \(prog-if 02/m);
    assert.match(told, /Subsystem: .* \[1af4:1100\]/);
    assert.match(told, /IOMMU group: 1$/m);
    assert.match(told, /Region 2: Memory at \w+ \(64-bit, prefetchable\) \[size=16M\]/);
    assert.match(told, /MSI-X: Enable- Count=65/);
    assert.match(told, /Kernel driver in use: vfio-pci/);
    assert.match(output('lspci', '-t'), /-\[0000:00\]-\+-00\.0/);
  });
  itNeeds([x86, program('setpci')], 'setpci reads config space', () => {
    assert.equal(output('setpci', '-s', '03:00.0', '0.w', '2.w'), '1234\n11e8\n');
  });
  itNeeds([x86, python], 'Python opens the nodes, and starts programs that do', () => {
    const script = `
import fcntl, os, stat, struct, subprocess, sys
info = os.stat('/dev/vfio/vfio')
assert stat.S_ISCHR(info.st_mode) and info.st_rdev == os.makedev(10, 196), info
assert 'iommu' in os.listdir('/dev') and '0000:03:00.0' in os.listdir('/sys/bus/pci/devices')
assert os.path.realpath('/sys/bus/pci/devices/0000:03:00.0').endswith('/0000:00:03.0/0000:03:00.0')
container = os.open('/dev/vfio/vfio', os.O_RDWR)
assert fcntl.ioctl(container, 0x3b64) == 0
iommufd = os.open('/dev/iommu', os.O_RDWR)
ioas = fcntl.ioctl(iommufd, 0x3b81, struct.pack('III', 12, 0, 0))
assert struct.unpack('III', ioas)[2] > 0
code = "import os; os.open('/dev/iommu', os.O_RDWR)"
for closes in (True, False):
    subprocess.run([sys.executable, '-c', code], check=True, close_fds=closes)
ioas = fcntl.ioctl(iommufd, 0x3b81, struct.pack('III', 12, 0, 0))
print('done')
`;
    assert.equal(output('python3', '-c', script), 'done\n');
  });
  itNeeds([x86, program('dpdk-devbind.py')], "DPDK's devbind tells which driver has a device", () => {
    const told = output('dpdk-devbind.py', '--status-dev', 'misc');
    assert.match(told, /No 'Misc/);
  });
  itNeeds([x86, program('dpdk-testpmd')], "DPDK's testpmd finds VFIO", () => {
    const { stdout, stderr } = run(['--', 'dpdk-testpmd', ...noHugePages, '--', '--total-num-mbufs=2048']);
    assert.match(stdout + stderr, /EAL: VFIO support initialized/);
  });
  itNeeds([...canRun, dpdk], "DPDK's VFIO code drives a device, which reaches DPDK's memory", () => {
    assert.match(output(compile('dpdk', ...packageOptions('libdpdk')), ...noHugePages), /^moved by the engine$/m);
  });
});
