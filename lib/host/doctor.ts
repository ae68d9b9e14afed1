// Examines which functions of this library a host supports and what is missing. It tests the kernel's functions instead
// of its version.
import { readFileSync } from 'node:fs';
import { cpus, release } from 'node:os';
import { join } from 'node:path';
import { refusalOf, udevRule } from '../hints/causes/open';
import { attempt, linked, list, text } from '../kernel/look';
import { DmaMemory } from '../dmabuf/dma-memory';
import { KernelError } from '../errors/errors';
import { Iommufd } from '../iommufd/iommufd';
import { toKernel } from '../kernel/default-kernel';
import type { Kernel } from '../kernel/kernel';
import { options } from '../errors/validate';
import type { P2pVerdict } from '../pci/p2p-path';
import { PciTopology } from '../pci/topology';
import { VfioDevice } from '../vfio/device';
import { addParameter, changeParameter } from './command-line';
import { bad, good, note, unknown, type Finding } from './finding';

export type { Finding };

function iommu(sysfs: string): Finding {
  // Count the groups of devices, not those in kernel/iommu_groups: mediated devices have groups without an IOMMU.
  const devices = join(sysfs, 'bus/pci/devices');
  const groups = new Set(list(devices).flatMap((address) => linked(join(devices, address, 'iommu_group')) ?? [])).size;
  const units = list(join(sysfs, 'class/iommu')).filter((name) => !name.startsWith('iommufd_selftest'));
  if (groups > 0) return good('iommu', `on: ${groups} groups${units.length > 0 ? `, ${units.join(', ')}` : ''}`);
  const intel = cpus()[0]?.model.includes('Intel') === true || text('/proc/cpuinfo').includes('GenuineIntel');
  const commandLine = text('/proc/cmdline');
  const [refused] = /\b(?:intel_iommu|amd_iommu|iommu)=off\b/.exec(commandLine) ?? [];
  if (refused !== undefined) {
    const on = refused === 'intel_iommu=off' ? 'intel_iommu=on' : 'iommu=pt';
    return bad('iommu', `off: the kernel was started with ${refused}`, ...changeParameter(refused, on));
  }
  const asked = /\b(?:intel_iommu=on|iommu=pt)\b/.test(commandLine);
  const firmware = 'switch it on in the firmware (VT-d, AMD-Vi, SMMU); a virtual machine must be given one';
  // If the firmware reports an IOMMU, only the kernel's configuration is missing.
  const present = list(join(sysfs, 'firmware/acpi/tables')).some((name) => /^(?:DMAR|IVRS)$/.test(name));
  return (intel || present) && !asked
    ? bad('iommu', 'off: this kernel does not use the IOMMU unless it is told to', ...addParameter('intel_iommu=on'))
    : bad('iommu', `off: ${firmware}`);
}

function vfioPci(sysfs: string): Finding {
  if (list(join(sysfs, 'bus/pci/drivers')).includes('vfio-pci')) return good('vfio-pci', 'the driver is there');
  const known = text(`/lib/modules/${release()}/modules.dep`);
  return known === '' || known.includes('/vfio-pci.ko')
    ? bad('vfio-pci', 'the driver is not loaded, or this kernel has none (CONFIG_VFIO_PCI)', 'modprobe vfio-pci')
    : bad('vfio-pci', 'this kernel has no driver vfio-pci (CONFIG_VFIO_PCI)');
}

/** Formats an error with its hint, without its arguments. */
function why(error: unknown): string {
  if (error instanceof KernelError) return error.hint === undefined ? error.message : `${error.code}: ${error.hint}`;
  return error instanceof Error ? error.message : String(error);
}

const ownGroup = () => {
  const id = String(process.getegid?.() ?? 0);
  const line = text('/etc/group')
    .split('\n')
    .find((entry) => entry.split(':')[2] === id);
  return line?.split(':')[0] ?? id;
};

/**
 * The finding for a device file that cannot be opened. If permission is missing, includes the commands that set the
 * file's group.
 */
function closed(check: string, error: unknown, path: string): Finding {
  const refusal = error instanceof KernelError && error.code === 'EACCES' ? refusalOf(path) : undefined;
  if (refusal?.mayBeGiven !== true) return bad(check, why(error));
  return bad(check, `EACCES: ${refusal.text}`, ...udevRule(path, ownGroup()).split('; '));
}

const tooOld = `this kernel (${release()}) is too old: dma-bufs of VFIO are mapped from Linux 6.19 on`;

/** Tests whether IOMMUFD can map files. A memfd's pages can be mapped without a device. */
function mapFile(iommufd: Iommufd, kernel: Kernel): Finding {
  try {
    using ioas = iommufd.allocIoas();
    using memory = DmaMemory.alloc(65536, { kernel });
    ioas.mapMemorySync(memory).close();
    return good('map-file', 'IOMMUFD maps files (IOMMU_IOAS_MAP_FILE)');
  } catch (error) {
    return error instanceof KernelError && error.code === 'ENOTTY'
      ? bad('map-file', tooOld)
      : bad('map-file', `IOMMUFD does not map a file: ${why(error)}`);
  }
}

/** A device that is bound to vfio-pci. */
interface Held {
  address: string;
  cdev: string;
}

/** Tests whether the device can be opened and can export dma-bufs. */
function device({ address, cdev }: Held, iommufd: Iommufd, kernel: Kernel): Finding {
  const check = `device ${address}`;
  try {
    using held = VfioDevice.openSync(address, { kernel, iommufd });
    return held.probe('DMA_BUF').get
      ? good(check, 'bound to vfio-pci, can be opened, and exports its memory')
      : bad(check, `does not export its memory: ${tooOld}`);
  } catch (error) {
    if (error instanceof KernelError && ['EBUSY', 'EINVAL'].includes(error.code))
      return note(check, `in use: ${why(error)}`);
    // The device can be opened, but binding it requires the VF token that the user of the related functions has set.
    if (error instanceof KernelError && error.code === 'EACCES' && error.ioctl === 'VFIO_DEVICE_BIND_IOMMUFD')
      return note(check, `cannot be tried: ${why(error)}`);
    return closed(check, error, `/dev/vfio/devices/${cdev}`);
  }
}

function heldByVfio(sysfs: string): Held[] {
  const folder = join(sysfs, 'bus/pci/devices');
  return list(folder)
    .filter((address) => linked(join(folder, address, 'driver')) === 'vfio-pci')
    .map((address) => ({ address, cdev: list(join(folder, address, 'vfio-dev'))[0] ?? '' }));
}

function* devices(iommufd: Iommufd, kernel: Kernel): Generator<Finding> {
  const held = heldByVfio(kernel.sysfs);
  if (held.length === 0) {
    yield bad(
      'devices',
      'no PCI device is bound to vfio-pci',
      'npx vfio-dmabuf devices',
      'npx vfio-dmabuf bind ADDRESS',
    );
    return;
  }
  const findings = held.map((found) => device(found, iommufd, kernel));
  yield* findings;
  const usable = findings.filter(({ verdict }) => verdict === 'good').length;
  if (usable === 1)
    yield note('devices', 'only one device can be used: a peer is wanted, too', 'npx vfio-dmabuf bind ADDRESS');
  if (usable === 0 && findings.every(({ verdict }) => verdict === 'note'))
    yield unknown('devices', 'all devices are in use');
}

/** Checks for VFIO's group interface, the alternative to IOMMUFD. */
function olderInterface(sysfs: string): Finding[] {
  const groups = list(join(sysfs, 'class/vfio')).length;
  if (groups === 0) return [];
  return [
    note(
      'groups',
      `${String(groups)} IOMMU groups can be had by VFIO's older interface: their devices open and export, but only ` +
        'IOMMUFD maps for a device what another has exported',
    ),
  ];
}

/** Checks whether the devices can access each other by the kernel's P2P rules, which IOMMUFD does not check. */
function peers(sysfs: string): Finding[] {
  const held = heldByVfio(sysfs).map(({ address }) => address);
  const topology = attempt(() => PciTopology.read({ sysfs }));
  if (!topology || held.length < 2) return [];
  const matrix = topology.p2pMatrix(held);
  const verdicts = held.flatMap((_, i) => held.slice(i + 1).map((_other, j) => matrix.verdict(i, i + 1 + j)));
  const count = (verdict: P2pVerdict) => verdicts.filter((one) => one === verdict).length;
  const parts = (['direct', 'host-bridge', 'unsupported', 'unknown'] as const)
    .filter((verdict) => count(verdict) > 0)
    .map((verdict) => `${String(count(verdict))} ${verdict}`);
  const told = `pairs of devices, by the rules of the kernel's own drivers: ${parts.join(', ')}`;
  if (count('direct') + count('host-bridge') === verdicts.length) return [good('peers', told)];
  const which = 'npx vfio-dmabuf topology --matrix';
  return [note('peers', `${told}. IOMMUFD does not ask them; whether DMA arrives is the host's matter`, which)];
}

function lockedMemory(): Finding {
  const line = attempt(() => readFileSync('/proc/self/limits', 'utf8'))
    ?.split('\n')
    .find((entry) => entry.startsWith('Max locked memory'));
  const limit = line?.slice(26).trim().split(/\s+/)[0];
  const capabilities = BigInt(`0x${/^CapEff:\s*(\w+)/m.exec(text('/proc/self/status'))?.[1] ?? '0'}`);
  const mayLock = (capabilities & (1n << 14n)) !== 0n; // CAP_IPC_LOCK
  if (mayLock || limit === 'unlimited') return good('memlock', 'host memory can be pinned without limit');
  return note(
    'memlock',
    `at most ${(Number(limit) / 2 ** 20).toFixed(0)} MiB of host memory can be pinned for devices (RLIMIT_MEMLOCK); BARs do not count`,
    `echo '@${ownGroup()} - memlock unlimited' > /etc/security/limits.d/vfio.conf`,
  );
}

function hugePages(): Finding {
  const folder = '/sys/kernel/mm/hugepages';
  const pools = list(folder).map((name) => ({
    size: Number(/(\d+)kB/.exec(name)?.[1] ?? 0) / 1024,
    free: Number(text(join(folder, name, 'free_hugepages'))),
  }));
  const there = pools.filter(({ free }) => free > 0).map(({ size, free }) => `${free} of ${size} MiB`);
  return there.length > 0
    ? good('hugepages', `free: ${there.join(', ')}`)
    : note('hugepages', 'none are reserved: large host buffers take more of the IOMMU', 'sysctl vm.nr_hugepages=512');
}

/** Options of {@link examineHost}. */
export interface DoctorOptions {
  /** The kernel to examine. Default: {@link defaultKernel}. */
  kernel?: Kernel;
}

/** The result of {@link examineHost}. */
export interface HostReport {
  /** Whether the main function works: a device exports its memory and IOMMUFD maps it. */
  healthy: boolean;
  findings: Finding[];
}

/**
 * Examines the host's IOMMU, drivers, permissions and limits, and tests IOMMUFD and every device that is bound to
 * vfio-pci by opening them briefly. Devices in use are not affected. Fix the first `bad` finding first.
 */
export function examineHost(opts?: DoctorOptions): HostReport {
  const kernel = toKernel(options(opts).kernel);
  const findings = [iommu(kernel.sysfs), vfioPci(kernel.sysfs)];
  try {
    using iommufd = Iommufd.open({ kernel });
    findings.push(good('iommufd', '/dev/iommu can be opened'), mapFile(iommufd, kernel), ...devices(iommufd, kernel));
  } catch (error) {
    findings.push(closed('iommufd', error, '/dev/iommu'));
    if (error instanceof KernelError && error.code === 'ENOENT') findings.push(...olderInterface(kernel.sysfs));
    findings.push(unknown('map-file', 'not seen without IOMMUFD'), unknown('devices', 'not seen without IOMMUFD'));
  }
  findings.push(...peers(kernel.sysfs), lockedMemory(), hugePages());
  const exporter = findings.some(({ check, verdict }) => check.startsWith('device ') && verdict === 'good');
  return { healthy: exporter && findings.every(({ verdict }) => verdict !== 'bad'), findings };
}
