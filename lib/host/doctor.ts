// Examines which functions of this library a host supports and what is missing. It tests the kernel's functions; the
// version tells only what cannot be tested.
import { readFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { refusalOf, udevRule } from '../hints/causes/open';
import { attempt, linked, list, text } from '../kernel/look';
import { DmaMemory } from '../dmabuf/dma-memory';
import { KernelError } from '../errors/errors';
import { Iommufd } from '../iommufd/iommufd';
import { toKernel } from '../kernel/default-kernel';
import type { Kernel } from '../kernel/kernel';
import { options, string } from '../errors/validate';
import { kernelRelease, procOf, rootOf } from '../pci/host-root';
import { usersOf } from '../pci/in-use';
import { obstacles } from '../pci/obstacles';
import type { P2pVerdict } from '../pci/p2p-path';
import { PciTopology } from '../pci/topology';
import { generic, isHeldByVfio, isVfioDriver } from '../pci/vfio-driver';
import { VfioDevice } from '../vfio/device';
import { addParameter, changeParameter } from './command-line';
import { bad, good, note, unknown, type Finding } from './finding';
import { importers } from './importers';
import { kernelFinding, tooOld } from './kernel-version';

export type { Finding };

/** What to do where no IOMMU is on, by the tables of the firmware. */
function howToSwitchOn(sysfs: string): Finding {
  const firmware = 'switch it on in the firmware (VT-d, AMD-Vi, SMMU); a virtual machine must be given one';
  const proc = procOf(sysfs);
  const commandLine = text(join(proc, 'cmdline'));
  const [refused] = /\b(?:intel_iommu|amd_iommu|iommu)=off\b/.exec(commandLine) ?? [];
  const tables = list(join(sysfs, 'firmware/acpi/tables'));
  const [hasIntel, hasAmd] = [tables.includes('DMAR'), tables.includes('IVRS')];
  // A container does not show the tables.
  if (tables.length > 0 && !hasIntel && !hasAmd && !tables.some((name) => /^(?:IORT|VIOT|RIMT)$/.test(name))) {
    return bad(
      'iommu',
      `off: the firmware reports none (no DMAR or IVRS table), so no kernel parameter switches one on: ${firmware}`,
    );
  }
  if (refused !== undefined) {
    const on = refused === 'intel_iommu=off' ? 'intel_iommu=on' : 'iommu=pt';
    return bad('iommu', `off: the kernel was started with ${refused}`, ...changeParameter(refused, on));
  }
  if (hasAmd)
    return bad('iommu', 'off: the firmware reports one (IVRS), and this kernel does not use it (CONFIG_AMD_IOMMU)');
  const isIntel = hasIntel || (tables.length === 0 && text(join(proc, 'cpuinfo')).includes('GenuineIntel'));
  if (!isIntel) return bad('iommu', `off: ${firmware}`);
  return /\bintel_iommu=on\b/.test(commandLine)
    ? bad('iommu', `off, with intel_iommu=on: this kernel has no CONFIG_INTEL_IOMMU, or ${firmware}`)
    : bad('iommu', 'off: this kernel does not use the IOMMU unless it is told to', ...addParameter('intel_iommu=on'));
}

function iommu(sysfs: string): Finding {
  // Count the groups of devices, not those in kernel/iommu_groups: mediated devices have groups without an IOMMU.
  const devices = join(sysfs, 'bus/pci/devices');
  const groups = new Set(list(devices).flatMap((address) => linked(join(devices, address, 'iommu_group')) ?? [])).size;
  const units = list(join(sysfs, 'class/iommu')).filter((name) => !name.startsWith('iommufd_selftest'));
  return groups > 0
    ? good('iommu', `on: ${groups} groups${units.length > 0 ? `, ${units.join(', ')}` : ''}`)
    : howToSwitchOn(sysfs);
}

function vfioPci(sysfs: string): Finding {
  const loaded = list(join(sysfs, 'bus/pci/drivers')).filter((name) => isVfioDriver(sysfs, name));
  if (loaded.includes(generic)) {
    const variants = loaded.filter((name) => name !== generic);
    return good('vfio-pci', `the driver is there${variants.length > 0 ? `, and ${variants.join(', ')}` : ''}`);
  }
  if (loaded.length > 0) return good('vfio-pci', `for certain devices: ${loaded.join(', ')}`);
  const known = text(join(rootOf(sysfs), 'lib/modules', kernelRelease(sysfs) ?? '', 'modules.dep'));
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

/** Tests whether IOMMUFD can map files. A memfd's pages can be mapped without a device. */
function mapFile(iommufd: Iommufd, kernel: Kernel): Finding {
  try {
    using ioas = iommufd.allocIoas();
    using memory = DmaMemory.alloc(65536, { kernel });
    ioas.mapMemorySync(memory).close();
    return good('map-file', 'IOMMUFD maps files (IOMMU_IOAS_MAP_FILE)');
  } catch (error) {
    return error instanceof KernelError && error.code === 'ENOTTY'
      ? bad('map-file', tooOld(release()))
      : bad('map-file', `IOMMUFD does not map a file: ${why(error)}`);
  }
}

/** A device that is bound to a VFIO driver. */
interface Held {
  address: string;
  cdev: string;
}

function whyNoExport(sysfs: string, address: string): string {
  const driver = linked(join(sysfs, 'bus/pci/devices', address, 'driver')) ?? generic;
  return driver === generic
    ? `does not export its memory: ${tooOld(release())}`
    : `does not export its memory: its driver, ${driver}, has no part for that. The generic one has: npx vfio-dmabuf bind ` +
        `${address} --driver ${generic}`;
}

/** Tests whether the device can be opened and can export dma-bufs. */
function device({ address, cdev }: Held, iommufd: Iommufd, kernel: Kernel): Finding {
  const check = `device ${address}`;
  const { sysfs } = kernel;
  try {
    using held = VfioDevice.openSync(address, { kernel, iommufd });
    return held.probe('DMA_BUF').get
      ? good(check, `bound to ${driverOf(sysfs, address)}, can be opened, and exports its memory`)
      : bad(check, whyNoExport(kernel.sysfs, address));
  } catch (error) {
    if (error instanceof KernelError && ['EBUSY', 'EINVAL'].includes(error.code)) {
      const reasons = obstacles(sysfs, address);
      if (reasons.length > 0) return bad(check, `cannot be opened (${error.code}): ${reasons.join('; ')}`);
      const users = usersOf(sysfs, address);
      return note(check, `in use: ${users === '' ? why(error) : `open by ${users}`}`);
    }
    // The device can be opened, but binding it requires the VF token that the user of the related functions has set.
    if (error instanceof KernelError && error.code === 'EACCES' && error.ioctl === 'VFIO_DEVICE_BIND_IOMMUFD')
      return note(check, `cannot be tried: ${why(error)}`);
    return closed(check, error, `/dev/vfio/devices/${cdev}`);
  }
}

function driverOf(sysfs: string, address: string): string {
  return linked(join(sysfs, 'bus/pci/devices', address, 'driver')) ?? 'no driver';
}

function heldByVfio(sysfs: string): Held[] {
  const folder = join(sysfs, 'bus/pci/devices');
  return list(folder)
    .filter((address) => isHeldByVfio(sysfs, address))
    .map((address) => ({ address, cdev: list(join(folder, address, 'vfio-dev'))[0] ?? '' }));
}

/** The devices that VFIO has, as a copy of a host shows them: none is opened. */
function copiedDevices(sysfs: string): Finding[] {
  const held = heldByVfio(sysfs);
  if (held.length === 0) return [noDevice];
  return held.map(({ address }) => {
    const check = `device ${address}`;
    const reasons = obstacles(sysfs, address);
    return reasons.length > 0
      ? bad(check, `cannot be used: ${reasons.join('; ')}`)
      : unknown(check, `bound to ${driverOf(sysfs, address)}; a copy does not show whether it can be opened`);
  });
}

/** What keeps VFIO from a part of a device that can be opened all the same. */
function limits(sysfs: string, findings: readonly Finding[]): Finding[] {
  return findings
    .filter(({ check, verdict }) => check.startsWith('device ') && verdict === 'good')
    .flatMap(({ check }) => obstacles(sysfs, check.replace('device ', '')).map((text) => note(check, text)));
}

const noDevice = bad(
  'devices',
  'no PCI device is bound to vfio-pci',
  'npx vfio-dmabuf devices',
  'npx vfio-dmabuf bind ADDRESS',
);

function* devices(iommufd: Iommufd, kernel: Kernel): Generator<Finding> {
  const held = heldByVfio(kernel.sysfs);
  if (held.length === 0) {
    yield noDevice;
    return;
  }
  const findings = held.map((found) => device(found, iommufd, kernel));
  yield* findings;
  yield* limits(kernel.sysfs, findings);
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
  /**
   * The path of the sysfs of another host's copy, with its proc next to it. Then only these files are examined, and what
   * they do not show is `unknown`.
   */
  sysfs?: string;
}

/** The result of {@link examineHost}. */
export interface HostReport {
  /** Whether the main function works: a device exports its memory and IOMMUFD maps it. A copy of a host cannot show it. */
  healthy: boolean;
  findings: Finding[];
}

/** The kernel's finding is the first: on a kernel that is too old, nothing else helps. */
function withKernel(sysfs: string, findings: readonly Finding[]): Finding[] {
  const known = kernelRelease(sysfs);
  if (known === undefined) return [...findings];
  const doesExport = findings.some(({ check, verdict }) => check.startsWith('device ') && verdict === 'good');
  return [kernelFinding(known, doesExport), ...findings];
}

function examineCopy(sysfs: string): HostReport {
  const nodes = list(join(sysfs, 'class/misc'));
  const iommufd = nodes.includes('iommu')
    ? good('iommufd', 'the kernel has it')
    : unknown('iommufd', 'not seen in a copy');
  const findings = [
    ...[iommu(sysfs), vfioPci(sysfs), iommufd, unknown('map-file', 'not seen in a copy')],
    ...[...copiedDevices(sysfs), ...importers(sysfs), ...peers(sysfs)],
  ];
  return { healthy: false, findings: withKernel(sysfs, findings) };
}

/**
 * Examines the host's kernel, IOMMU, drivers, permissions and limits, and tests IOMMUFD and every device that is bound to
 * a VFIO driver by opening them briefly. Devices in use are not affected. Fix the first `bad` finding first.
 */
export function examineHost(opts?: DoctorOptions): HostReport {
  const { kernel: chosen, sysfs } = options(opts, ['kernel', 'sysfs']);
  if (sysfs !== undefined) return examineCopy(string(sysfs, 'sysfs'));
  const kernel = toKernel(chosen);
  const findings = [iommu(kernel.sysfs), vfioPci(kernel.sysfs)];
  try {
    using iommufd = Iommufd.open({ kernel });
    findings.push(good('iommufd', '/dev/iommu can be opened'), mapFile(iommufd, kernel), ...devices(iommufd, kernel));
  } catch (error) {
    findings.push(closed('iommufd', error, '/dev/iommu'));
    if (error instanceof KernelError && error.code === 'ENOENT') findings.push(...olderInterface(kernel.sysfs));
    findings.push(unknown('map-file', 'not seen without IOMMUFD'), unknown('devices', 'not seen without IOMMUFD'));
  }
  findings.push(...importers(kernel.sysfs), ...peers(kernel.sysfs), lockedMemory(), hugePages());
  const all = withKernel(kernel.sysfs, findings);
  const exporter = all.some(({ check, verdict }) => check.startsWith('device ') && verdict === 'good');
  return { healthy: exporter && all.every(({ verdict }) => verdict !== 'bad'), findings: all };
}
