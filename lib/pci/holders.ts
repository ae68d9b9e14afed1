// Finds the processes that use a device: through any open file of it, or a mapping. Compares device numbers, because a
// device file may have any path, for example in a container. These functions do not throw; processes that this one
// cannot see are omitted.
import { readdirSync, readlinkSync, statSync, type Dirent } from 'node:fs';
import { join } from 'node:path';
import { attempt, linked, list, text } from '../kernel/look';

/** Device numbers by the names of their files: 'c511:0' for a character device, 'b259:1' for a block device. */
export type DeviceFiles = ReadonlyMap<string, string>;

/** A process that uses a device. */
export interface Holder {
  pid: number;
  command: string;
  /** The names of the files through which it uses the device. */
  files: string[];
}

/** For example 'PID 4711 (qemu-system-x86)'. */
export function holderText({ pid, command }: Pick<Holder, 'pid' | 'command'>): string {
  return command === '' ? `PID ${String(pid)}` : `PID ${String(pid)} (${command})`;
}

/** Joins the texts of holders, with the files that they have open. */
export function holdersText(holders: readonly Holder[]): string {
  return holders.map((holder) => `${holderText(holder)}, through ${holder.files.join(', ')}`).join('; ');
}

/** Returns the name of a process. */
export function commandOf(proc: string, pid: number): string {
  const comm = text(join(proc, String(pid), 'comm')).trim();
  return comm || (text(join(proc, String(pid), 'cmdline')).split('\0')[0] ?? '');
}

const deepest = 12;

function entries(folder: string): Dirent[] {
  return attempt(() => readdirSync(folder, { withFileTypes: true })) ?? [];
}

/** Whether a folder of sysfs describes a disk or a partition. Copies of sysfs may lack the link to the subsystem. */
function isBlock(folder: string, found: readonly Dirent[]): boolean {
  const subsystem = linked(join(folder, 'subsystem'));
  if (subsystem !== undefined) return subsystem === 'block';
  return folder.split('/').at(-2) === 'block' || found.some(({ name }) => name === 'queue' || name === 'partition');
}

/** Returns the device files that a folder of sysfs and the folders below it describe: each has a file `dev`. */
export function filesBelow(folder: string, depth = 0): Map<string, string> {
  const files = new Map<string, string>();
  const found = entries(folder);
  const number = found.some(({ name }) => name === 'dev') ? text(join(folder, 'dev')).trim() : '';
  if (/^\d+:\d+$/.test(number)) {
    const names = folder.split('/');
    const own = names.at(-1) ?? '';
    const fallback = names.at(-2) === 'vfio-dev' ? `vfio/devices/${own}` : own;
    const name = /^DEVNAME=(.+)$/m.exec(text(join(folder, 'uevent')))?.[1] ?? fallback;
    files.set(`${isBlock(folder, found) ? 'b' : 'c'}${number}`, `/dev/${name}`);
  }
  if (depth === deepest) return files;
  for (const entry of found) {
    if (!entry.isDirectory()) continue;
    for (const [key, name] of filesBelow(join(folder, entry.name), depth + 1)) files.set(key, name);
  }
  return files;
}

/** Returns the number of an open device file in the form of {@link DeviceFiles}; undefined: it is no device. */
function numberOf(path: string): string | undefined {
  const file = attempt(() => statSync(path, { bigint: true }));
  if (!file?.isCharacterDevice() && !file?.isBlockDevice()) return undefined;
  const { rdev } = file;
  const major = ((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn);
  const minor = (rdev & 0xffn) | ((rdev >> 12n) & ~0xffn & 0xffff_ffffn);
  return `${file.isBlockDevice() ? 'b' : 'c'}${String(major)}:${String(minor)}`;
}

/** File systems that have no usable device files, and that may not answer. */
const remote = /^(?:nfs|cifs|smb|fuse|ceph|afs|lustre|gfs|ocfs|gluster|9p|autofs)/;

/** Finds the files of remote file systems in a process: stat(2) of such a file can wait without bound. */
class Mounts {
  readonly #byNamespace = new Map<string, Set<string>>();
  readonly #proc: string;

  constructor(proc: string) {
    this.#proc = proc;
  }

  isRemote(pid: string, fd: string): boolean {
    const mount = /^mnt_id:\s*(\d+)$/m.exec(text(join(this.#proc, pid, 'fdinfo', fd)))?.[1];
    return mount !== undefined && this.#remote(pid).has(mount);
  }

  #remote(pid: string): Set<string> {
    const namespace = attempt(() => readlinkSync(join(this.#proc, pid, 'ns/mnt'))) ?? pid;
    const known = this.#byNamespace.get(namespace);
    if (known) return known;
    const lines = text(join(this.#proc, pid, 'mountinfo')).split('\n');
    const ids = lines.filter((line) => remote.test(line.split(' - ')[1] ?? '')).map((line) => line.split(' ')[0] ?? '');
    const found = new Set(ids);
    this.#byNamespace.set(namespace, found);
    return found;
  }
}

/** Returns the fd folders of a process. A main thread that has ended has none; the other threads do. */
function fdFolders(folder: string): string[] {
  if (list(join(folder, 'fd')).length > 0) return ['fd'];
  return list(join(folder, 'task'))
    .map((thread) => join('task', thread, 'fd'))
    .filter((fds) => list(join(folder, fds)).length > 0)
    .slice(0, 1);
}

const anonymous = 'anon_inode:[vfio-device]';

function* openFiles(proc: string, pid: string, files: DeviceFiles, syspaths: readonly string[], mounts: Mounts) {
  for (const fds of fdFolders(join(proc, pid))) {
    for (const fd of list(join(proc, pid, fds))) {
      const path = join(proc, pid, fds, fd);
      const target = attempt(() => readlinkSync(path)) ?? '';
      // A device that was opened through its IOMMU group has no file in /dev. From Linux 6.18 on, fdinfo names it.
      if (target === anonymous) {
        const info = text(join(proc, pid, fds === 'fd' ? 'fdinfo' : fds.replace(/fd$/, 'fdinfo'), fd));
        const syspath = /^vfio-device-syspath:\s*(\S+)$/m.exec(info)?.[1];
        if (syspath !== undefined && syspaths.some((own) => syspath.endsWith(own)))
          yield 'a VFIO device fd of its group';
        continue;
      }
      if (!target.startsWith('/')) continue; // a socket, a pipe, an eventfd
      if (!target.startsWith('/dev/') && mounts.isRemote(pid, fd)) continue;
      const name = files.get(numberOf(path) ?? '');
      if (name !== undefined) yield name;
    }
  }
}

/** A mapping keeps a device open after its fd was closed. VFIO and display drivers allow only shared mappings. */
function* mappings(proc: string, pid: string, files: DeviceFiles) {
  const lines = text(join(proc, pid, 'maps')).matchAll(/^([0-9a-f]+-[0-9a-f]+) ..{2}s \S+ \S+ [1-9]\d* +(\/.*)$/gm);
  for (const [, range = '', path = ''] of lines) {
    if (!path.startsWith('/dev/')) continue;
    const name = files.get(numberOf(join(proc, pid, 'map_files', range)) ?? numberOf(path) ?? '');
    if (name !== undefined) yield `a mapping of ${name}`;
  }
}

/**
 * Returns the processes that have one of these device files open or mapped, or a VFIO device of one of these paths in
 * sysfs ('/devices/pci0000:00/…').
 */
export function holdersOf(proc: string, files: DeviceFiles, syspaths: readonly string[] = []): Holder[] {
  const mounts = new Mounts(proc);
  return list(proc)
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid): Holder[] => {
      const open = new Set(openFiles(proc, pid, files, syspaths, mounts));
      if (open.size === 0) for (const mapping of mappings(proc, pid, files)) open.add(mapping);
      return open.size === 0 ? [] : [{ pid: Number(pid), command: commandOf(proc, Number(pid)), files: [...open] }];
    })
    .sort((a, b) => a.pid - b.pid);
}
