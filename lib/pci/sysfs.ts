// Reads PCI device properties from sysfs. The root is a parameter, so that a fake or recorded tree can be used.
import { existsSync } from 'node:fs';
import { basename, join } from 'node:path';
import { codedError } from '../errors/errors';
import { outOfRange } from '../errors/validate';
import type { Node } from '../kernel/device-node';
import { linked, list } from '../kernel/look';
import { bindCommands, noIommu } from './iommu-group';
import { isVfioDriver, vfioDriverFor } from './vfio-driver';

const addressPattern = /^(?:[0-9a-f]{4,}:)?[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$/i;

/** Expands a PCI address to its full, lower-case form: '0000:03:00.0' for '03:00.0'. @internal */
export function toAddress(address: string): string {
  if (!addressPattern.test(address)) {
    throw outOfRange('address', "a PCI address like '0000:03:00.0', or a mediated device's UUID", address);
  }
  const full = address.split(':').length === 2 ? `0000:${address}` : address;
  return full.toLowerCase();
}

/**
 * Returns the node of a device's VFIO character device. Its name is the only entry of the device's vfio-dev folder.
 *
 * @throws Error ERR_NO_SUCH_DEVICE, ERR_NOT_BOUND_TO_VFIO
 * @internal
 */
export function cdevNode(sysfs: string, address: string): Node {
  const device = join('bus/pci/devices', address);
  const folder = join(sysfs, device);
  if (!existsSync(folder)) throw codedError('ERR_NO_SUCH_DEVICE', `there is no PCI device ${address}`);
  const names = list(join(folder, 'vfio-dev'));
  const name = names.find((candidate) => candidate.startsWith('vfio'));
  if (name !== undefined) return toCdevNode(device, name);
  throw codedError(
    'ERR_NOT_BOUND_TO_VFIO',
    `${address} has no VFIO character device: ${notBound(sysfs, address, names[0])}`,
  );
}

/** @internal */
export function toCdevNode(device: string, name: string): Node {
  return {
    path: `/dev/vfio/devices/${name}`,
    device: basename(device),
    numberFile: join(device, 'vfio-dev', name, 'dev'),
  };
}

function notBound(sysfs: string, address: string, other: string | undefined): string {
  if (other !== undefined)
    return `VFIO has it as ${other}, without an IOMMU's protection, which this library does not use`;
  const commands = `as root: ${bindCommands(sysfs, address)}`;
  const iommu = noIommu(sysfs, address);
  if (iommu !== undefined) return `VFIO takes only devices behind an IOMMU, and ${iommu}. Then, ${commands}`;
  const driver = linked(join(sysfs, 'bus/pci/devices', address, 'driver'));
  return driver !== undefined && isVfioDriver(sysfs, driver)
    ? `it is bound to ${driver}, and yet has no vfio-dev folder: this kernel is too old (before Linux 6.1)`
    : `it is bound to ${driver ?? 'no driver'}, not to ${vfioDriverFor(sysfs, address).driver}. To change that, ${commands}`;
}

/**
 * Returns the number of a device's IOMMU group.
 *
 * @throws Error ERR_NO_SUCH_DEVICE. ERR_NOT_BOUND_TO_VFIO: it has no group, so it cannot be bound to VFIO.
 * @internal
 */
export function iommuGroup(sysfs: string, address: string): number {
  const folder = join(sysfs, 'bus/pci/devices', address);
  if (!existsSync(folder)) throw codedError('ERR_NO_SUCH_DEVICE', `there is no PCI device ${address}`);
  const group = Number(linked(join(folder, 'iommu_group')));
  if (Number.isInteger(group)) return group;
  throw codedError('ERR_NOT_BOUND_TO_VFIO', `${address} has no IOMMU group: ${notBound(sysfs, address, undefined)}`);
}
