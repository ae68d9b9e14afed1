// Finds the uses of a PCI device that unbinding its driver would interrupt. These functions do not throw; uses that
// cannot be read are omitted.
import { readlinkSync, realpathSync } from 'node:fs';
import { basename, join } from 'node:path';
import { attempt, linked, list, text } from '../kernel/look';
import { classDevices, disks, nvmeSubsystems } from './disks';
import { commandOf, filesBelow, holdersOf, holdersText, holderText, type DeviceFiles } from './holders';
import { procOf } from './host-root';
import { foreignDevices, groupOthers } from './iommu-group';

const real = (path: string) => attempt(() => realpathSync(path)) ?? path;
const interfaceUp = 1; // IFF_UP of linux/if.h
const isUp = (folder: string) => (Number(text(join(folder, 'flags')).trim()) & interfaceUp) !== 0;

/** The interfaces for which the kernel has a default route. */
function defaultRoutes(proc: string): string[] {
  return text(join(proc, 'net/route'))
    .split('\n')
    .map((line) => line.split('\t'))
    .filter(([, destination, , , , , , mask]) => destination === '00000000' && mask === '00000000')
    .map(([name = '']) => name);
}

function* networks(sysfs: string, folders: readonly string[]): Generator<string> {
  const routes = defaultRoutes(procOf(sysfs));
  for (const name of classDevices(sysfs, 'net', folders)) {
    const folder = join(sysfs, 'class/net', name);
    const master = linked(join(folder, 'master'));
    const above = list(folder)
      .filter((entry) => entry.startsWith('upper_'))
      .map((entry) => entry.replace('upper_', ''))
      .filter((upper) => upper !== master);
    if (isUp(folder))
      yield `network interface ${name} is up${routes.includes(name) ? ' and has the default route' : ''}`;
    if (master !== undefined) yield `network interface ${name} is part of ${master}`;
    if (above.length > 0) yield `network interface ${name} carries ${above.join(', ')}`;
  }
}

/** Network interfaces in the network namespaces of other processes, such as containers, whose sysfs shows them. */
function* hiddenNetworks(sysfs: string, folder: string): Generator<string> {
  const proc = procOf(sysfs);
  const own = attempt(() => readlinkSync(join(proc, 'self/ns/net')));
  if (own === undefined) return;
  const seen = new Set([own]);
  for (const pid of list(proc).filter((name) => /^\d+$/.test(name))) {
    const namespace = attempt(() => readlinkSync(join(proc, pid, 'ns/net')));
    if (namespace === undefined || seen.has(namespace)) continue;
    seen.add(namespace);
    const all = join(proc, pid, 'root/sys/class/net');
    for (const name of list(all)) {
      const path = attempt(() => readlinkSync(join(all, name))) ?? '';
      if (!path.includes(`/${basename(folder)}/`) || !isUp(join(all, name))) continue;
      const who = holderText({ pid: Number(pid), command: commandOf(proc, Number(pid)) });
      yield `network interface ${name} is up in the network namespace of ${who}`;
    }
  }
}

function* displays(folder: string): Generator<string> {
  if (text(join(folder, 'boot_vga')).trim() === '1') yield 'it is the display that the machine was started with';
}

function* bridges(folder: string): Generator<string> {
  // PCI and CardBus bridges
  if (/^0x060[47]/.test(text(join(folder, 'class')))) yield 'it is a bridge: the devices behind it would go';
}

/** The files of drivers that are not below the device in sysfs: NVIDIA's, and AMD's compute interface. */
function driverFiles(sysfs: string, folder: string): Map<string, string> {
  const files = new Map<string, string>();
  const address = basename(folder);
  const information = text(join(procOf(sysfs), 'driver/nvidia/gpus', address, 'information'));
  const minor = /^Device Minor:\s*(\d+)/m.exec(information)?.[1];
  if (minor !== undefined) files.set(`c195:${minor}`, `/dev/nvidia${minor}`);
  const kfd = join(sysfs, 'class/kfd/kfd');
  const number = text(join(kfd, 'dev')).trim();
  if (number !== '' && isComputeNode(kfd, address)) files.set(`c${number}`, '/dev/kfd');
  return files;
}

/** Whether AMD's compute interface has the device. Its processes use all GPUs of the interface. */
function isComputeNode(kfd: string, address: string): boolean {
  const nodes = join(kfd, 'topology/nodes');
  const [domain = '', bus = '', slot = ''] = address.split(':');
  const [device = '', index = ''] = slot.split('.');
  const location = (parseInt(bus, 16) << 8) | (parseInt(device, 16) << 3) | Number(index);
  return list(nodes).some((node) => {
    const properties = text(join(nodes, node, 'properties'));
    const value = (name: string) => Number(new RegExp(`^${name} (\\d+)$`, 'm').exec(properties)?.[1] ?? '0');
    return value('location_id') === location && value('domain') === parseInt(domain, 16);
  });
}

/** The VFIO file of the device's IOMMU group, which gives access to all devices of the group. */
function groupFile(sysfs: string, folder: string): Map<string, string> {
  const group = linked(join(folder, 'iommu_group')) ?? '';
  const number = text(join(sysfs, 'class/vfio', group, 'dev')).trim();
  return new Map<string, string>(group === '' || number === '' ? [] : [[`c${number}`, `/dev/vfio/${group}`]]);
}

/** What identifies the open files of a device. */
export interface DeviceTraces {
  files: DeviceFiles;
  syspaths: readonly string[];
}

/**
 * Returns what identifies the open files of a device. They outlive its entries in sysfs, which a driver removes before
 * it waits for the files to be closed.
 */
export function tracesOf(sysfs: string, address: string): DeviceTraces {
  const folder = real(join(sysfs, 'bus/pci/devices', address));
  const folders = [folder, ...nvmeSubsystems(sysfs, folder)];
  const files = new Map([
    ...folders.flatMap((found) => [...filesBelow(found)]),
    ...driverFiles(sysfs, folder),
    ...groupFile(sysfs, folder),
  ]);
  return { files, syspaths: [folder.slice(real(sysfs).length)] };
}

/** Returns the processes that have the device, or what its driver makes of it, open; as a text, or '' if there are none. */
export function usersOf(sysfs: string, address: string, traces = tracesOf(sysfs, address)): string {
  return holdersText(holdersOf(procOf(sysfs), traces.files, traces.syspaths));
}

function* openers(sysfs: string, address: string): Generator<string> {
  const users = usersOf(sysfs, address);
  if (users !== '') yield `it is open by ${users}`;
}

function* virtualFunctions(sysfs: string, folder: string): Generator<string> {
  const functions = list(folder)
    .filter((name) => /^virtfn\d+$/.test(name))
    .flatMap((name) => linked(join(folder, name)) ?? []);
  if (functions.length === 0) return;
  const held = functions.flatMap((address) => {
    const driver = linked(join(sysfs, 'bus/pci/devices', address, 'driver'));
    const users = usersOf(sysfs, address);
    const uses = [...usesOf(sysfs, address), ...(users === '' ? [] : [`open by ${users}`])].join(', ');
    return driver === undefined ? [] : [`${address} (${driver}${uses === '' ? '' : `: ${uses}`})`];
  });
  const which = held.length === 0 ? 'none has a driver' : `with a driver: ${held.join(', ')}`;
  yield `its ${String(functions.length)} virtual functions would go; ${which}`;
}

/** The uses of one function by the host, without the processes that have it open. */
function usesOf(sysfs: string, address: string): string[] {
  const folder = real(join(sysfs, 'bus/pci/devices', address));
  const folders = [folder, ...nvmeSubsystems(sysfs, folder)];
  return [...disks(sysfs, folders), ...networks(sysfs, folders), ...hiddenNetworks(sysfs, folder)];
}

/** Returns the other devices of the IOMMU group that a driver has which VFIO does not accept, with their users. */
function companions(sysfs: string, address: string, together: readonly string[]): string[] {
  const others = groupOthers(sysfs, address).filter((other) => !together.includes(other));
  return foreignDevices(sysfs, others).map((other) => {
    const users = usersOf(sysfs, other.address);
    const uses = [...usesOf(sysfs, other.address), ...(users === '' ? [] : [`open by ${users}`])];
    return `${other.address} (driver ${other.driver}${uses.length > 0 ? `: ${uses.join(', ')}` : ''})`;
  });
}

/**
 * Returns what prevents that VFIO uses the device's IOMMU group as a whole; undefined: nothing.
 *
 * @param together devices that are bound in the same step
 */
export function companionsText(sysfs: string, address: string, together: readonly string[]): string | undefined {
  const found = companions(sysfs, address, together);
  if (found.length === 0) return undefined;
  const group = linked(join(sysfs, 'bus/pci/devices', address, 'iommu_group')) ?? '';
  return `VFIO needs all devices of IOMMU group ${group}, and another driver has ${found.join(', ')}: bind those in the same command`;
}

/** Returns the uses that unbinding the device's driver would interrupt; empty if none was found. @internal */
export function inUse(sysfs: string, address: string): string[] {
  const folder = real(join(sysfs, 'bus/pci/devices', address));
  return [
    ...usesOf(sysfs, address),
    ...virtualFunctions(sysfs, folder),
    ...openers(sysfs, address),
    ...displays(folder),
    ...bridges(folder),
  ];
}
