// Finds what prevents VFIO from using a device or its IOMMU group, and the commands that fix it.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { linked, list, text } from '../kernel/look';
import { carriedBy, carrierText } from './carrier';
import { isHeldByVfio, vfioDriverFor } from './vfio-driver';

/**
 * Drivers beside those of VFIO that do no DMA of their own (`driver_managed_dma` of struct pci_driver), so VFIO accepts
 * them in a group.
 */
const harmless = ['pcieport', 'pci-stub'];

/** Whether a driver that is not one of VFIO prevents VFIO from using its device's group. */
export function takesGroup(driver: string | undefined): boolean {
  return driver !== undefined && !harmless.includes(driver);
}

/** Returns the other devices of the device's IOMMU group. */
export function groupOthers(sysfs: string, address: string): string[] {
  const folder = join(sysfs, 'bus/pci/devices', address, 'iommu_group/devices');
  return list(folder).filter((other) => other !== address);
}

/** A device of an IOMMU group with a driver that prevents VFIO from using the group. */
export interface ForeignDevice {
  address: string;
  driver: string;
}

/** Returns those of the devices whose driver prevents VFIO from using their IOMMU group. */
export function foreignDevices(sysfs: string, addresses: readonly string[]): ForeignDevice[] {
  return addresses.flatMap((address) => {
    const driver = linked(join(sysfs, 'bus/pci/devices', address, 'driver'));
    return driver !== undefined && takesGroup(driver) && !isHeldByVfio(sysfs, address) ? [{ address, driver }] : [];
  });
}

/** Returns why an existing device has no IOMMU group; undefined if it has one. */
export function noIommu(sysfs: string, address: string): string | undefined {
  const folder = join(sysfs, 'bus/pci/devices', address);
  if (!existsSync(folder) || existsSync(join(folder, 'iommu_group'))) return undefined;
  // Kernels with IOMMUFD's self-test have one more unit, without devices of the machine.
  const units = list(join(sysfs, 'class/iommu')).filter((name) => !name.startsWith('iommufd_selftest'));
  return units.length > 0
    ? `it is behind none of this machine's IOMMUs (${units.join(', ')}): it has no iommu_group in sysfs`
    : `no IOMMU is on (${sysfs}/class/iommu is empty): switch it on in the firmware (VT-d, AMD-Vi, SMMU) and, on Intel, ` +
        'with intel_iommu=on on the kernel command line; a virtual machine must be given one';
}

/** A range of reserved IOVAs; `last` is inclusive. */
export interface ReservedRegion {
  start: bigint;
  last: bigint;
  /** 'direct', 'direct-relaxable', 'reserved' or 'msi'. */
  type: string;
}

/**
 * Returns the reserved regions of an IOMMU group.
 *
 * @param group the group's folder in sysfs
 */
export function reservedRegions(group: string): ReservedRegion[] {
  return [...text(join(group, 'reserved_regions')).matchAll(/^(0x[0-9a-f]+) (0x[0-9a-f]+) (.+)$/gim)].map(
    ([, start = '0', last = '0', type = '']) => ({ start: BigInt(start), last: BigInt(last), type: type.trim() }),
  );
}

/**
 * Returns why the kernel refuses the device's IOMMU group to VFIO because of the firmware; undefined if it does not.
 *
 * The firmware demands that the IOMMU maps a `direct` region 1:1 at all times. VFIO needs a domain without any mapping,
 * so __iommu_device_set_domain() (drivers/iommu/iommu.c) returns EINVAL for every device of the group. The kernel
 * ignores the demand for `direct-relaxable` regions.
 */
export function firmwareRegion(sysfs: string, address: string): string | undefined {
  const folder = join(sysfs, 'bus/pci/devices', address, 'iommu_group');
  const regions = reservedRegions(folder).filter(({ type }) => type === 'direct');
  if (regions.length === 0) return undefined;
  const shown = regions.map(({ start, last }) => `0x${start.toString(16)}-0x${last.toString(16)}`).join(', ');
  return (
    `the firmware reserves memory for direct access by the devices of IOMMU group ${linked(folder) ?? ''} (${shown}, ` +
    'type direct in reserved_regions: RMRR, IVMD or RMR), and the kernel does not give such a group to VFIO (EINVAL). No ' +
    "kernel parameter changes that: switch off what uses the region in the firmware's setup (such as the management " +
    "controller's access to this slot), update the firmware, or use another slot"
  );
}

/** Returns the commands that bind a device to the VFIO driver that fits it best. */
export function bindCommands(sysfs: string, address: string): string {
  const folder = join(sysfs, 'bus/pci/devices', address);
  const { driver, module, isLoaded } = vfioDriverFor(sysfs, address);
  return [
    ...(isLoaded ? [] : [`modprobe ${module}`]),
    `echo ${driver} > ${folder}/driver_override`,
    ...(existsSync(join(folder, 'driver')) ? [`echo ${address} > ${folder}/driver/unbind`] : []),
    `echo ${address} > ${sysfs}/bus/pci/drivers_probe`,
  ].join('; ');
}

/** Returns what to do about a device of a group that another driver has. */
export function howToFree(sysfs: string, { address }: ForeignDevice): string {
  const carried = carriedBy(sysfs, address);
  return carried.length > 0
    ? carrierText(address, carried)
    : `Give that to VFIO, too; as root: ${bindCommands(sysfs, address)}`;
}
