// Finds why a device file cannot be opened: no driver, no file, no permission.
import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { basename, dirname, join } from 'node:path';
import type { Arguments, Around } from '../../errors/around';
import { attempt, list, text } from '../../kernel/look';

interface Driver {
  title: string;
  config: string;
  /** The folder in sysfs that contains the device when its driver is loaded. */
  subsystem: string;
  /** undefined: the driver cannot be a module. */
  module?: string;
  remark?: string;
}

const drivers: Readonly<Record<string, Driver>> = {
  '/dev/iommu': {
    title: 'IOMMUFD',
    config: 'CONFIG_IOMMUFD',
    subsystem: 'misc',
    module: 'iommufd',
    remark: "; Debian's stock kernels, for one, are built without it",
  },
  '/dev/vfio/vfio': { title: 'VFIO container', config: 'CONFIG_VFIO_CONTAINER', subsystem: 'misc', module: 'vfio' },
  '/dev/udmabuf': { title: 'udmabuf driver', config: 'CONFIG_UDMABUF', subsystem: 'misc' },
  '/dev/dma_heap/system': {
    title: 'system dma-heap',
    config: 'CONFIG_DMABUF_HEAPS_SYSTEM',
    subsystem: 'dma_heap',
    module: 'system_heap',
  },
};

const swSync = '/sys/kernel/debug/sync/sw_sync';
const heapFolder = '/dev/dma_heap';
const cdevs = '/dev/vfio/devices';

const notPassedIn = (path: string) =>
  `the kernel has it, but not this /dev: a container must be given it (\`docker run --device ${path}\`)`;

function noDriver(path: string, { title, config, module, remark = '' }: Driver): string {
  const none = `this kernel has no ${title} (${config}${remark})`;
  if (module === undefined) return none;
  const load = `\`modprobe ${module}\` as root`;
  const modules = text(`/lib/modules/${release()}/modules.dep`);
  // A container may not show modules that the kernel has.
  if (modules === '') return `${none}, or its module is not loaded: ${load}`;
  return modules.includes(`/${module}.ko`) ? `the module behind ${path} is not loaded: ${load}` : none;
}

function noCdev(path: string, sysfs: string): string {
  const folder = join(sysfs, 'class/vfio-dev');
  const device = join(folder, basename(path));
  if (!existsSync(device)) {
    const there = list(folder);
    return (
      `VFIO has no device ${basename(path)}, only ${there.join(', ') || 'none at all'}: the character device goes when ` +
      'its device leaves vfio-pci'
    );
  }
  return existsSync(join(device, 'dev'))
    ? notPassedIn(path)
    : 'this kernel has no character devices for VFIO (CONFIG_VFIO_DEVICE_CDEV)';
}

function noGroup(path: string, sysfs: string): string {
  const folder = join(sysfs, 'class/vfio');
  if (existsSync(join(folder, basename(path)))) return notPassedIn(path);
  const there = list(folder);
  return (
    `VFIO has no group ${basename(path)}, only ${there.join(', ') || 'none at all'}: a group comes with the first of its ` +
    'devices that is bound to vfio-pci, on kernels with CONFIG_VFIO_GROUP'
  );
}

/** ENOENT at open. */
export function noSuchFile({ path }: Arguments, { kernel }: Around): string | undefined {
  if (path === undefined || !kernel) return undefined;
  if (dirname(path) === cdevs) return noCdev(path, kernel.sysfs);
  if (path === swSync) {
    return 'this kernel has no sw_sync (CONFIG_SW_SYNC), or debugfs is not mounted: `mount -t debugfs none /sys/kernel/debug`';
  }
  const heaps = dirname(path) === heapFolder ? list(join(kernel.sysfs, 'class/dma_heap')) : [];
  if (heaps.length > 0 && !heaps.includes(basename(path))) return `the dma-heaps here are: ${heaps.join(', ')}`;
  if (/^\/dev\/vfio\/\d+$/.test(path)) return noGroup(path, kernel.sysfs);
  const driver = drivers[path];
  if (!driver) return undefined;
  const present = existsSync(join(kernel.sysfs, 'class', driver.subsystem, basename(path)));
  return present ? notPassedIn(path) : noDriver(path, driver);
}

/** Returns the name of a user or group id in /etc/passwd or /etc/group, or the number. */
function nameOf(file: 'passwd' | 'group', id: number): string {
  const entries = text(`/etc/${file}`)
    .split('\n')
    .map((line) => line.split(':'));
  return entries.find(([, , number]) => number === String(id))?.[0] ?? String(id);
}

/**
 * Returns why this process has no permission to open a file. `mayBeGiven`: it is a device file, so a udev rule can set
 * its group.
 */
export function refusalOf(path: string): { text: string; mayBeGiven: boolean } | undefined {
  const file = attempt(() => statSync(path, { throwIfNoEntry: false }) ?? 'gone');
  if (file === 'gone') return undefined;
  const [user, group] = [process.geteuid?.() ?? 0, process.getegid?.() ?? 0];
  if (!file) {
    const text = `a folder on the way to ${path} lets nobody like user ${nameOf('passwd', user)} through`;
    return { text, mayBeGiven: false };
  }
  const mode = (file.mode & 0o7777).toString(8).padStart(4, '0');
  const is = `${path} belongs to ${nameOf('passwd', file.uid)}:${nameOf('group', file.gid)} with mode ${mode}`;
  const allowed = attempt(() => {
    accessSync(path, constants.R_OK | constants.W_OK);
    return true;
  });
  if (allowed) {
    return { text: `${is}, which allows it: a security module (SELinux, AppArmor) does not`, mayBeGiven: false };
  }
  const who = `${is}, and this process is user ${nameOf('passwd', user)} of group ${nameOf('group', group)}`;
  return { text: who, mayBeGiven: file.isCharacterDevice() };
}

/** EACCES at open. */
export function noPermission({ path }: Arguments): string | undefined {
  const refusal = path === undefined ? undefined : refusalOf(path);
  if (path === undefined || !refusal?.mayBeGiven) return refusal?.text;
  const group = nameOf('group', process.getegid?.() ?? 0);
  return `${refusal.text}. To give it to that group, as root: ${udevRule(path, group)}`;
}

/** Returns the commands that set a device file's group, now and whenever the file is created. */
export function udevRule(path: string, group: string): string {
  const isGroup = /^\/dev\/vfio\/\d+$/.test(path);
  const subsystem = dirname(path) === cdevs ? 'vfio-dev' : isGroup ? 'vfio' : drivers[path]?.subsystem;
  const match = [
    ...(subsystem === undefined ? [] : [`SUBSYSTEM=="${subsystem}"`]),
    // VFIO device numbers change.
    ...(subsystem === 'vfio-dev' ? [] : [`KERNEL=="${basename(path)}"`]),
  ];
  const rule = [...match, `GROUP="${group}"`, 'MODE="0660"'].join(', ');
  const file = `/etc/udev/rules.d/70-${subsystem === 'vfio-dev' ? subsystem : basename(path)}.rules`;
  return `echo '${rule}' > ${file}; udevadm control --reload; udevadm trigger ${path}`;
}
