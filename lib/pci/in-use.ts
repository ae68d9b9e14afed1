// Finds the uses of a PCI device that unbinding its driver would interrupt. These functions do not throw; uses that
// cannot be read are omitted.
import { closeSync, constants, openSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { attempt, list, text } from '../kernel/look';

const real = (path: string) => attempt(() => realpathSync(path)) ?? path;
const below = (folder: string, path: string) => path.startsWith(`${folder}/`);

/** Returns the names of a class's devices (block devices, network interfaces) that are below one of these folders. */
function classDevices(sysfs: string, name: string, folders: readonly string[]): string[] {
  const all = join(sysfs, 'class', name);
  return list(all).filter((entry) => {
    const path = real(join(all, entry));
    return folders.some((folder) => below(folder, path));
  });
}

/**
 * Returns the folder of an NVMe drive's subsystem. With multipath, the namespaces are there and not below the
 * controller.
 */
function nvmeSubsystems(sysfs: string, folder: string): string[] {
  const controllers = list(join(folder, 'nvme'));
  const all = join(sysfs, 'class/nvme-subsystem');
  return list(all)
    .map((name) => real(join(all, name)))
    .filter((subsystem) => list(subsystem).some((entry) => controllers.includes(entry)));
}

/** Whether the block device is opened exclusively, for example by a file system, RAID, LVM or a virtual machine. */
function isClaimed(name: string): boolean {
  try {
    closeSync(openSync(`/dev/${name}`, constants.O_RDONLY | constants.O_EXCL));
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EBUSY';
  }
}

function* disks(sysfs: string, folders: readonly string[]): Generator<string> {
  const mounts = text('/proc/self/mountinfo').split('\n');
  const swaps = text('/proc/swaps').split('\n');
  for (const name of classDevices(sysfs, 'block', folders)) {
    const block = join(sysfs, 'class/block', name);
    const number = text(join(block, 'dev')).trim();
    const mount = number === '' ? undefined : mounts.find((line) => line.split(' ')[2] === number)?.split(' ')[4];
    const holders = list(join(block, 'holders'));
    if (mount !== undefined) yield `disk ${name} is mounted on ${mount}`;
    else if (swaps.some((line) => line.startsWith(`/dev/${name} `))) yield `disk ${name} is swapped to`;
    else if (holders.length > 0) yield `disk ${name} is part of ${holders.join(', ')}`;
    else if (sysfs === '/sys' && isClaimed(name)) yield `disk ${name} is in use`;
  }
}

const interfaceUp = 1; // IFF_UP of linux/if.h

function* networks(sysfs: string, folders: readonly string[]): Generator<string> {
  for (const name of classDevices(sysfs, 'net', folders)) {
    const flags = Number(text(join(sysfs, 'class/net', name, 'flags')).trim());
    if ((flags & interfaceUp) !== 0) yield `network interface ${name} is up`;
  }
}

function* displays(folder: string): Generator<string> {
  if (text(join(folder, 'boot_vga')).trim() === '1') yield 'it is the display that the machine was started with';
}

function* bridges(folder: string): Generator<string> {
  if (text(join(folder, 'class')).startsWith('0x0604')) yield 'it is a bridge: the devices behind it would go';
}

/** Returns the uses that unbinding the device's driver would interrupt; empty if none was found. @internal */
export function inUse(sysfs: string, address: string): string[] {
  const folder = real(join(sysfs, 'bus/pci/devices', address));
  const folders = [folder, ...nvmeSubsystems(sysfs, folder)];
  return [...disks(sysfs, folders), ...networks(sysfs, folders), ...displays(folder), ...bridges(folder)];
}

/** Returns 'MAJOR:MINOR' of the character device that an fd of a process refers to. */
function numberOf(path: string): string | undefined {
  if (!attempt(() => readlinkSync(path))?.startsWith('/')) return undefined; // not a file: a socket, a pipe, an eventfd
  const file = attempt(() => statSync(path, { bigint: true }));
  if (!file?.isCharacterDevice()) return undefined;
  const { rdev } = file;
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & ~0xffn & 0xffff_ffffn);
  return `${String(major)}:${String(minor)}`;
}

/**
 * Returns the processes that have a VFIO character device open, if they are visible to this process. Compares device
 * numbers, because the device may have any path, for example in a container.
 *
 * @param folder the device's folder in its vfio-dev folder of sysfs
 * @internal
 */
export function usersOf(folder: string): number[] {
  const number = text(join(folder, 'dev')).trim();
  if (number === '') return [];
  return list('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => list(`/proc/${pid}/fd`).some((fd) => numberOf(`/proc/${pid}/fd/${fd}`) === number))
    .map(Number);
}
