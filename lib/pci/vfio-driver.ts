// Determines which PCI drivers are VFIO drivers, and which one fits a device best. Beside the generic driver vfio-pci
// there are variant drivers for certain devices (mlx5_vfio_pci, nvgrace_gpu_vfio_pci, …). Their modules have aliases
// with the prefix 'vfio_pci:' (scripts/mod/file2alias.c, PCI_DRIVER_OVERRIDE_DEVICE_VFIO).
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { linked, list, text } from '../kernel/look';
import { kernelRelease, rootOf } from './host-root';

/** The driver that takes every device. */
export const generic = 'vfio-pci';

interface Alias {
  pattern: string;
  module: string;
}

const prefix = 'vfio_pci:';
/** Modules have '_' in sysfs, and '_' or '-' in file names. */
const moduleName = (name: string): string => name.replaceAll('-', '_');

/** Returns the aliases of VFIO drivers: those of modules, and those of drivers that are built into the kernel. */
function vfioAliases(sysfs: string): Alias[] {
  const release = kernelRelease(sysfs);
  if (release === undefined) return [];
  const folder = join(rootOf(sysfs), 'lib/modules', release);
  const loadable = text(join(folder, 'modules.alias')).matchAll(/^alias (vfio_pci:\S+) (\S+)$/gm);
  // NUL-terminated: 'mlx5_vfio_pci.alias=vfio_pci:v000015B3d…'
  const builtIn = text(join(folder, 'modules.builtin.modinfo')).matchAll(/([\w-]+)\.alias=(vfio_pci:[^\0]+)/g);
  return [
    ...[...loadable].map(([, pattern = '', module = '']) => ({ pattern, module: moduleName(module) })),
    ...[...builtIn].map(([, module = '', pattern = '']) => ({ pattern, module: moduleName(module) })),
  ];
}

/** Whether an alias, in which '*' matches any characters, matches. */
function matches(pattern: string, name: string): boolean {
  const parts = pattern.split('*').map((part) => part.replaceAll(/[\\^$.|?+()[\]{}]/g, '\\$&'));
  return new RegExp(`^${parts.join('.*')}$`).test(name);
}

const wildcards = (pattern: string): number => pattern.split('*').length - 1;

/** Whether it is a VFIO driver: its module has such an alias, or uses the module vfio_pci_core. */
export function isVfioDriver(sysfs: string, driver: string): boolean {
  if (driver === generic) return true;
  const module = moduleName(linked(join(sysfs, 'bus/pci/drivers', driver, 'module')) ?? driver);
  return (
    list(join(sysfs, 'module/vfio_pci_core/holders')).includes(module) ||
    vfioAliases(sysfs).some((alias) => alias.module === module)
  );
}

/** Whether VFIO has a device through this driver, which is therefore a VFIO driver. */
export function hasVfioDevice(sysfs: string, driver: string): boolean {
  const devices = join(sysfs, 'bus/pci/devices');
  return list(devices).some(
    (address) => linked(join(devices, address, 'driver')) === driver && isHeldByVfio(sysfs, address),
  );
}

/** Whether a VFIO driver has the device: by the driver's module, or by a vfio-dev folder (from Linux 6.1 on). */
export function isHeldByVfio(sysfs: string, address: string): boolean {
  const folder = join(sysfs, 'bus/pci/devices', address);
  const driver = linked(join(folder, 'driver'));
  if (driver === undefined) return false;
  if (isVfioDriver(sysfs, driver)) return true;
  if (list(join(folder, 'vfio-dev')).length === 0 || !existsSync(join(folder, 'iommu_group'))) return false;
  // In a copy of sysfs that was edited, the folder can be of a driver that still lists the device.
  const drivers = join(sysfs, 'bus/pci/drivers');
  return !list(drivers).some((name) => name !== driver && existsSync(join(drivers, name, address)));
}

/** A VFIO driver for a device. */
export interface VfioDriver {
  /** Its name in bus/pci/drivers. */
  driver: string;
  /** The module to load, as modprobe knows it. */
  module: string;
  /** Whether the kernel has the driver now. */
  isLoaded: boolean;
}

function registered(sysfs: string, module: string): string | undefined {
  const drivers = join(sysfs, 'bus/pci/drivers');
  return list(drivers).find((name) => moduleName(linked(join(drivers, name, 'module')) ?? name) === module);
}

/**
 * Returns the VFIO driver whose alias fits the device best: the one with the fewest wildcards, as libvirt chooses. The
 * generic driver fits every device.
 */
export function vfioDriverFor(sysfs: string, address: string): VfioDriver {
  const modalias = text(join(sysfs, 'bus/pci/devices', address, 'modalias')).trim();
  const name = modalias.replace(/^pci:/, prefix);
  const [best] = vfioAliases(sysfs)
    .filter(({ pattern }) => modalias.startsWith('pci:') && matches(pattern, name))
    .sort((a, b) => wildcards(a.pattern) - wildcards(b.pattern));
  const module = best?.module ?? moduleName(generic);
  if (module === moduleName(generic)) return named(sysfs, generic);
  const driver = registered(sysfs, module);
  return { driver: driver ?? module, module, isLoaded: driver !== undefined };
}

/** Returns the VFIO driver of this name. */
export function named(sysfs: string, driver: string): VfioDriver {
  const isLoaded = existsSync(join(sysfs, 'bus/pci/drivers', driver));
  const module = linked(join(sysfs, 'bus/pci/drivers', driver, 'module')) ?? driver;
  return { driver, module: driver === generic ? generic : module, isLoaded };
}
