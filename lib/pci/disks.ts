// Finds the uses of a PCI device's disks: mounts, swap, RAID and LVM, targets for other machines.
import { closeSync, mkdtempSync, openSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { attempt, list, text } from '../kernel/look';
import { processes } from '../kernel/processes';
import { isThisHost, procOf } from './host-root';
import { isRunning, until, waitSync } from './waiting';

const real = (path: string) => attempt(() => realpathSync(path)) ?? path;
const below = (folder: string, path: string) => path.startsWith(`${folder}/`);

/** Returns the names of a class's devices (block devices, network interfaces) that are below one of these folders. */
export function classDevices(sysfs: string, name: string, folders: readonly string[]): string[] {
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
export function nvmeSubsystems(sysfs: string, folder: string): string[] {
  const controllers = list(join(folder, 'nvme'));
  const all = join(sysfs, 'class/nvme-subsystem');
  return list(all)
    .map((name) => real(join(all, name)))
    .filter((subsystem) => list(subsystem).some((entry) => controllers.includes(entry)));
}

const milliseconds = 3000;

// Opening a block device may do I/O. It runs in a process of its own, so that a device that does not answer costs a
// bounded time: a process that waits in the kernel cannot be killed.
const openExclusively = `
const fs = require('node:fs');
for (const path of process.argv.slice(1)) {
  let code = '';
  try { fs.closeSync(fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_EXCL)); }
  catch (error) { code = error.code; }
  fs.writeSync(1, path + ' ' + code + '\\n');
}`;

/**
 * Opens block devices exclusively. Returns those that are opened so already ('EBUSY'), for example by ZFS, Ceph or btrfs,
 * and those that did not answer (undefined).
 */
export function refusedExclusively(paths: readonly string[], bound = milliseconds): Map<string, string | undefined> {
  if (paths.length === 0) return new Map();
  const folder = mkdtempSync(join(tmpdir(), 'vfio-dmabuf-'));
  const output = join(folder, 'output');
  const fd = openSync(output, 'w');
  try {
    const child = processes().spawn(process.execPath, ['-e', openExclusively, ...paths], {
      ...{ detached: true, stdio: ['ignore', fd, 'ignore'], cwd: '/', env: { ELECTRON_RUN_AS_NODE: '1' } },
    });
    child.on('error', () => undefined); // the process could not be started: nothing is known
    child.unref();
    const { pid } = child;
    if (pid === undefined) return new Map();
    const isDone = () => (text(output).split('\n').length > paths.length || !isRunning(pid) ? true : undefined);
    waitSync(until(bound, isDone));
    const told = new Map(
      text(output)
        .split('\n')
        .map((line) => [line.split(' ')[0] ?? '', line.split(' ')[1] ?? '']),
    );
    const refused = paths.filter((path) => told.get(path) === 'EBUSY').map((path) => [path, 'EBUSY'] as const);
    const silent = paths.find((path) => !told.has(path));
    return new Map<string, string | undefined>(silent === undefined ? refused : [...refused, [silent, undefined]]);
  } finally {
    closeSync(fd);
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Returns the mount point of a block device, or undefined. */
function mountOf(sysfs: string, name: string): string | undefined {
  const number = text(join(sysfs, 'class/block', name, 'dev')).trim();
  if (number === '') return undefined;
  const line = text(join(procOf(sysfs), 'self/mountinfo'))
    .split('\n')
    .find((entry) => entry.split(' ')[2] === number);
  return line?.split(' ')[4];
}

function isSwap(sysfs: string, name: string): boolean {
  const swaps = text(join(procOf(sysfs), 'swaps')).split('\n');
  return swaps.some((line) => line.startsWith(`/dev/${name} `));
}

/** Describes the device-mapper, RAID and similar devices on top of a disk, with their mounts. */
function holderText(sysfs: string, holder: string): string {
  const block = join(sysfs, 'class/block', holder);
  const above = list(join(block, 'holders'));
  const mount = mountOf(sysfs, holder);
  const name = text(join(block, 'dm/name')).trim();
  const use = mount === undefined ? (isSwap(sysfs, holder) ? ', swapped to' : '') : `, mounted on ${mount}`;
  const more = above.length > 0 ? `, part of ${above.map((other) => holderText(sysfs, other)).join(', ')}` : '';
  return `${holder}${name === '' ? '' : ` (${name})`}${use}${more}`;
}

/** A device that the kernel itself uses through its path. */
interface KernelUse {
  path: string;
  by: string;
}

/** The namespaces of NVMe targets, the back ends of SCSI targets, and loop devices. */
function* kernelUses(sysfs: string): Generator<KernelUse> {
  const subsystems = join(sysfs, 'kernel/config/nvmet/subsystems');
  for (const subsystem of list(subsystems)) {
    const namespaces = join(subsystems, subsystem, 'namespaces');
    for (const id of list(namespaces)) {
      if (text(join(namespaces, id, 'enable')).trim() !== '1') continue;
      const path = text(join(namespaces, id, 'device_path')).trim();
      yield { path, by: `is namespace ${id} of the NVMe target ${subsystem}` };
    }
    const passthru = join(subsystems, subsystem, 'passthru');
    if (text(join(passthru, 'enable')).trim() === '1')
      yield {
        path: text(join(passthru, 'device_path')).trim(),
        by: `is what the NVMe target ${subsystem} passes through`,
      };
  }
  const cores = join(sysfs, 'kernel/config/target/core');
  for (const core of list(cores)) {
    for (const store of list(join(cores, core))) {
      const path = text(join(cores, core, store, 'udev_path')).trim();
      if (path !== '') yield { path, by: `is the SCSI target's ${core}/${store}` };
    }
  }
  for (const name of list(join(sysfs, 'class/block')).filter((entry) => entry.startsWith('loop'))) {
    const path = text(join(sysfs, 'class/block', name, 'loop/backing_file')).trim();
    if (path.startsWith('/dev/')) yield { path, by: `is behind ${name}` };
  }
}

/** The name of the device that a path such as '/dev/disk/by-id/…' leads to. */
function nameOf(path: string, sysfs: string): string {
  return basename(isThisHost(sysfs) ? real(path) : path);
}

/** Returns the uses of the disks below these folders. */
export function* disks(sysfs: string, folders: readonly string[]): Generator<string> {
  const names = classDevices(sysfs, 'block', folders);
  const uses = [...kernelUses(sysfs)].map(({ path, by }) => ({ name: nameOf(path, sysfs), by }));
  const quiet: string[] = [];
  for (const name of names) {
    const mount = mountOf(sysfs, name);
    const holders = list(join(sysfs, 'class/block', name, 'holders'));
    const own = uses.filter((use) => use.name === name);
    if (mount !== undefined) yield `disk ${name} is mounted on ${mount}`;
    else if (isSwap(sysfs, name)) yield `disk ${name} is swapped to`;
    else if (holders.length > 0)
      yield `disk ${name} is part of ${holders.map((holder) => holderText(sysfs, holder)).join(', ')}`;
    else if (own.length === 0) quiet.push(name);
    for (const { by } of own) yield `disk ${name} ${by}`;
  }
  const controllers = folders.flatMap((folder) => list(join(folder, 'nvme')));
  for (const { name, by } of uses) if (controllers.includes(name)) yield `drive ${name} ${by}`;
  if (!isThisHost(sysfs)) return;
  for (const [path, code] of refusedExclusively(quiet.map((name) => `/dev/${name}`))) {
    yield code === undefined
      ? `disk ${basename(path)} does not answer`
      : `disk ${basename(path)} is in use by the kernel (a file system, RAID or target has it open exclusively)`;
  }
}
