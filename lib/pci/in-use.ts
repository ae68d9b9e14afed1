// What the system does with a PCI device now that taking it away would hurt. Nothing here throws: what cannot be seen is not
// told.
import { closeSync, constants, openSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { attempt, list, text } from '../kernel/look';

const real = (path: string) => attempt(() => realpathSync(path)) ?? path;
const below = (folder: string, path: string) => path.startsWith(`${folder}/`);

/** The names of a class's devices (block devices, network interfaces) that are below one of these folders. */
function classDevices(sysfs: string, name: string, folders: readonly string[]): string[] {
  const all = join(sysfs, 'class', name);
  return list(all).filter((entry) => {
    const path = real(join(all, entry));
    return folders.some((folder) => below(folder, path));
  });
}

/** Where an NVMe drive's namespaces are when several controllers may lead to them: with their subsystem. */
function nvmeSubsystems(sysfs: string, folder: string): string[] {
  const controllers = list(join(folder, 'nvme'));
  const all = join(sysfs, 'class/nvme-subsystem');
  return list(all)
    .map((name) => real(join(all, name)))
    .filter((subsystem) => list(subsystem).some((entry) => controllers.includes(entry)));
}

/** Whether somebody has the block device to himself: a file system, RAID, LVM, a virtual machine. */
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

const interfaceUp = 1; // linux/if.h: IFF_UP

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

/** What would be hurt if the device's driver let it go: empty, nothing that can be seen. @internal */
export function inUse(sysfs: string, address: string): string[] {
  const folder = real(join(sysfs, 'bus/pci/devices', address));
  const folders = [folder, ...nvmeSubsystems(sysfs, folder)];
  return [...disks(sysfs, folders), ...networks(sysfs, folders), ...displays(folder), ...bridges(folder)];
}

/** 'MAJOR:MINOR' of a character device that an fd of a process is open on. */
function numberOf(path: string): string | undefined {
  if (!attempt(() => readlinkSync(path))?.startsWith('/')) return undefined; // no file: a socket, a pipe, an eventfd
  const file = attempt(() => statSync(path, { bigint: true }));
  if (!file?.isCharacterDevice()) return undefined;
  const { rdev } = file;
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & ~0xffn & 0xffff_ffffn);
  return `${String(major)}:${String(minor)}`;
}

/**
 * The processes that have a VFIO character device open, as far as they can be seen: by its number, as its path in a
 * container or elsewhere can be any.
 *
 * @param folder the device's, in its vfio-dev folder of sysfs
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
