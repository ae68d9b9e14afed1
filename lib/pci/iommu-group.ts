// Finds what prevents VFIO from using a device or its IOMMU group, and the commands that fix it.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { list } from '../kernel/look';

/** Drivers that do no DMA, so VFIO accepts them in a group. */
export const harmless = ['pcieport', 'pci-stub'];

/** Whether a driver prevents VFIO from using its device's group. */
export function takesGroup(driver: string | undefined): boolean {
  return driver !== undefined && !harmless.includes(driver);
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

/** Returns the commands that bind a device to vfio-pci. */
export function bindCommands(sysfs: string, address: string): string {
  const folder = join(sysfs, 'bus/pci/devices', address);
  return [
    ...(existsSync(join(sysfs, 'bus/pci/drivers/vfio-pci')) ? [] : ['modprobe vfio-pci']),
    `echo vfio-pci > ${folder}/driver_override`,
    ...(existsSync(join(folder, 'driver')) ? [`echo ${address} > ${folder}/driver/unbind`] : []),
    `echo ${address} > ${sysfs}/bus/pci/drivers_probe`,
  ].join('; ');
}
