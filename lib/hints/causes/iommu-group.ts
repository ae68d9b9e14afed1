// Finds why a device cannot be bound: no IOMMU, its IOMMU group, or another user of the device.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Arguments, Around } from '../../errors/around';
import { linked, list, text } from '../../kernel/look';
import {
  firmwareRegion,
  foreignDevices,
  groupOthers,
  howToFree,
  noIommu,
  takesGroup,
  type ForeignDevice,
} from '../../pci/iommu-group';
import { unassignedBars } from '../../pci/obstacles';

interface Place {
  sysfs: string;
  folder: string;
  address: string;
}

function place({ device }: Arguments, { kernel }: Around): Place | undefined {
  if (device === undefined || !kernel) return undefined;
  return { sysfs: kernel.sysfs, folder: join(kernel.sysfs, 'bus/pci/devices', device), address: device };
}

function hasTokens(folder: string): boolean {
  return existsSync(join(folder, 'physfn')) || existsSync(join(folder, 'sriov_totalvfs'));
}

/** EINVAL at bind. */
export function boundAlready(args: Arguments, around: Around): string | undefined {
  const at = place(args, around);
  const none = at && noIommu(at.sysfs, at.address);
  if (none !== undefined) return none;
  if (args.vfToken !== undefined && around.isBound?.() === false && at && !hasTokens(at.folder))
    return 'a VF token was given, and the device is neither a virtual function nor has any: leave vfToken out';
  if (around.isBound?.()) return 'this device is bound already, by this object or one that shares its file';
  if (!at) return undefined;
  const refused = firmwareRegion(at.sysfs, at.address) ?? unassignedBars(at.sysfs, at.address);
  if (refused !== undefined) return refused;
  const cdev = list(join(at.folder, 'vfio-dev'))[0];
  return (
    'the device is bound already, through another open of its character device in this process or another' +
    (cdev === undefined ? '' : `: \`fuser -v /dev/vfio/devices/${cdev}\` tells whose`)
  );
}

/** EBUSY at bind. */
export function groupOpen(args: Arguments, around: Around): string | undefined {
  const at = place(args, around);
  const group = at && linked(join(at.folder, 'iommu_group'));
  if (group === undefined) return undefined;
  return (
    `the device's IOMMU group is in use through VFIO's older interface (\`fuser -v /dev/vfio/${group}\` tells by whom), ` +
    'or a driver has given it another I/O address space'
  );
}

/** Explains that a driver has a device of the group. */
function notViable(sysfs: string, group: string, foreign: ForeignDevice): string {
  const { address, driver } = foreign;
  return `IOMMU group ${group} is not viable: driver ${driver} has ${address}. ${howToFree(sysfs, foreign)}`;
}

/** EPERM at bind. The kernel checks the interrupts first, then the group's other devices. */
export function groupNotFree(args: Arguments, around: Around): string | undefined {
  const at = place(args, around);
  if (!at) return undefined;
  const others = groupOthers(at.sysfs, at.address);
  const [foreign] = foreignDevices(at.sysfs, others);
  const unsafe = text(join(at.sysfs, 'module/iommufd/parameters/allow_unsafe_interrupts')).trim();
  const interrupts =
    'the interrupts of its IOMMU group are not isolated: switch interrupt remapping on (in the firmware, and not ' +
    'intremap=off), or accept that a device can forge interrupts; as root: ' +
    `echo Y > ${at.sysfs}/module/iommufd/parameters/allow_unsafe_interrupts`;
  if (foreign) return notViable(at.sysfs, linked(join(at.folder, 'iommu_group')) ?? '', foreign);
  const withDriver = others.filter((other) => takesGroup(linked(join(at.sysfs, 'bus/pci/devices', other, 'driver'))));
  if (withDriver.length === 0) return interrupts;
  const owned = `another device of its IOMMU group (${withDriver.join(', ')}) is bound to another iommufd: one iommufd must have all of a group`;
  return unsafe === 'Y' ? owned : `${owned}; or ${interrupts}`;
}

/** EPERM when a group is added to a container. */
export function groupNotViable({ group }: Arguments, { kernel }: Around): string | undefined {
  if (group === undefined || !kernel) return undefined;
  const devices = join(kernel.sysfs, 'kernel/iommu_groups', String(group), 'devices');
  const [foreign] = foreignDevices(kernel.sysfs, list(devices));
  return foreign && notViable(kernel.sysfs, String(group), foreign);
}

/** EINVAL when a group is added to a container, or when its device is opened in an iommufd. */
export function groupOfFirmware({ group }: Arguments, { kernel }: Around): string | undefined {
  if (group === undefined || !kernel) return undefined;
  const [first] = list(join(kernel.sysfs, 'kernel/iommu_groups', String(group), 'devices'));
  return first === undefined ? undefined : firmwareRegion(kernel.sysfs, first);
}

/** EINVAL at attach. */
export function notAttachable(args: Arguments, around: Around): string | undefined {
  if (!around.isBound) return undefined;
  if (!around.isBound()) return 'the device is not bound to an iommufd: bind() first';
  if (args.pasid !== undefined)
    return 'only page tables that were made for PASIDs can be attached to one, and to a device with one: allocate such a HWPT';
  if (around.pasids)
    return 'the device has PASIDs attached, and this page table was not made for that: allocate one with `pasid`';
  const at = place(args, around);
  const others = at ? groupOthers(at.sysfs, at.address) : [];
  const shares =
    others.length === 0
      ? ''
      : `an IOMMU group has one page table, and ${others.join(', ')} of this group may be attached to another; or `;
  return (
    `${shares}the device's IOMMU cannot use this page table; or a file that is mapped in the IOAS is no memfd or ends ` +
    'before, which is seen only when the first device is attached'
  );
}
