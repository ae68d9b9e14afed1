// What sysfs tells about a PCI device. The root is given, so that a fake's or a recorded tree works too.
import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { codedError } from '../errors';
import { outOfRange } from '../validate';

const addressPattern = /^(?:[0-9a-f]{4,}:)?[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$/i;

/** A PCI address in full, in lower case: '0000:03:00.0' for '03:00.0'. @internal */
export function toAddress(address: string): string {
  if (!addressPattern.test(address)) throw outOfRange('address', "a PCI address like '0000:03:00.0'", address);
  const full = address.split(':').length === 2 ? `0000:${address}` : address;
  return full.toLowerCase();
}

function driverOf(folder: string): string | undefined {
  try {
    return basename(readlinkSync(join(folder, 'driver')));
  } catch {
    return undefined;
  }
}

/**
 * The path of a device's VFIO character device: the one entry of its vfio-dev folder names it.
 *
 * @throws Error ERR_NO_SUCH_DEVICE, ERR_NOT_BOUND_TO_VFIO
 * @internal
 */
export function cdevPath(sysfs: string, address: string): string {
  const folder = join(sysfs, 'bus/pci/devices', address);
  if (!existsSync(folder)) throw codedError('ERR_NO_SUCH_DEVICE', `there is no PCI device ${address}`);
  let names: string[] = [];
  try {
    names = readdirSync(join(folder, 'vfio-dev'));
  } catch {
    // No such folder: the device is not VFIO's, which is told below.
  }
  const name = names.find((candidate) => candidate.startsWith('vfio'));
  if (name !== undefined) return `/dev/vfio/devices/${name}`;
  const driver = driverOf(folder);
  throw codedError(
    'ERR_NOT_BOUND_TO_VFIO',
    `${address} has no VFIO character device: ` +
      (driver === 'vfio-pci'
        ? 'it is bound to vfio-pci, but this kernel has no CONFIG_VFIO_DEVICE_CDEV'
        : `it is bound to ${driver ?? 'no driver'}, not to vfio-pci. As root: ` +
          `echo vfio-pci > ${folder}/driver_override; ` +
          (driver === undefined ? '' : `echo ${address} > ${folder}/driver/unbind; `) +
          `echo ${address} > ${sysfs}/bus/pci/drivers_probe`),
  );
}

const cdevFolder = '/dev/vfio/devices/';

/** The address of the device whose VFIO character device this is; undefined if sysfs does not say. @internal */
export function cdevAddress(sysfs: string, path: string): string | undefined {
  if (!path.startsWith(cdevFolder)) return undefined;
  const devices = join(sysfs, 'bus/pci/devices');
  const name = basename(path);
  try {
    return readdirSync(devices).find((address) => existsSync(join(devices, address, 'vfio-dev', name)));
  } catch {
    return undefined;
  }
}

/** What an fd of this process is open on; '' if that cannot be told. @internal */
export function fdPath(fd: number): string {
  try {
    return readlinkSync(`/proc/self/fd/${String(fd)}`);
  } catch {
    return '';
  }
}
