// Writes mediated devices to a fake machine's sysfs.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mdevDriver } from './machine';
import { link, writeCdev } from './sysfs';

/** The names of types whose name differs from the name of their folder. */
const names: Readonly<Record<string, string>> = { 'mtty-1': 'Single port serial', 'mtty-2': 'Dual port serial' };

/** The content of a mediated device's folder. */
export interface SysfsMdev {
  uuid: string;
  /** The type, for example 'mtty-2'. */
  type: string;
  cdev: string;
  group: number;
}

/** Writes one mediated device. The first one of a driver or type also writes its parent and type. */
export function writeMdev(root: string, { uuid, type, cdev, group }: SysfsMdev): void {
  const driver = mdevDriver(type);
  const parent = join(root, 'devices/virtual', driver, driver);
  const types = join(parent, 'mdev_supported_types', type);
  const driverFolder = join(root, 'bus/mdev/drivers', driver);
  if (!existsSync(parent)) link(parent, join(root, 'class/mdev_bus', driver));
  if (!existsSync(types)) {
    mkdirSync(join(types, 'devices'), { recursive: true });
    mkdirSync(driverFolder, { recursive: true });
    writeFileSync(join(types, 'name'), `${names[type] ?? type}\n`);
    writeFileSync(join(types, 'device_api'), 'vfio-pci\n');
    writeFileSync(join(types, 'create'), '');
  }
  const folder = join(parent, uuid);
  mkdirSync(folder);
  link(types, join(folder, 'mdev_type'));
  link(folder, join(types, 'devices', uuid));
  link(driverFolder, join(folder, 'driver'));
  link(folder, join(driverFolder, uuid));
  link(folder, join(root, 'bus/mdev/devices', uuid));
  const groupFolder = join(root, 'kernel/iommu_groups', String(group));
  link(groupFolder, join(folder, 'iommu_group'));
  link(folder, join(groupFolder, 'devices', uuid));
  writeCdev(root, folder, cdev);
}
