// Finds devices that carry other devices: a controller that creates a PCI domain of its own, as Intel's Volume
// Management Device (VMD) does for NVMe drives. Binding it to another driver removes the devices behind it.
import { realpathSync } from 'node:fs';
import { join } from 'node:path';
import { attempt, list } from '../kernel/look';

const hostBridge = /^pci[0-9a-f]{4,}:[0-9a-f]{2}$/;
const addressPattern = /^[0-9a-f]{4,}:[0-9a-f]{2}:[01][0-9a-f]\.[0-7]$/;

const real = (path: string): string => attempt(() => realpathSync(path)) ?? path;

/** Returns all PCI devices in and below a folder. */
function devicesBelow(folder: string): string[] {
  return list(folder)
    .filter((name) => addressPattern.test(name))
    .flatMap((name) => [name, ...devicesBelow(join(folder, name))]);
}

/** Returns the devices of the PCI domain that this device creates; empty if it creates none. */
export function carriedBy(sysfs: string, address: string): string[] {
  const folder = join(sysfs, 'bus/pci/devices', address);
  return list(folder)
    .filter((name) => hostBridge.test(name))
    .flatMap((name) => devicesBelow(join(folder, name)));
}

/** Returns the device that creates the PCI domain of this one; undefined: the domain is the machine's. */
export function carrierOf(sysfs: string, address: string): string | undefined {
  const names = real(join(sysfs, 'bus/pci/devices', address)).split('/');
  const inner = names.filter((name) => hostBridge.test(name)).at(-1);
  const carrier = inner === undefined ? undefined : names[names.lastIndexOf(inner) - 1];
  return carrier !== undefined && addressPattern.test(carrier) ? carrier : undefined;
}

/** Explains why a device that carries others cannot be bound, and how to use what it carries. */
export function carrierText(address: string, carried: readonly string[]): string {
  return (
    `${address} is a controller that carries ${carried.join(', ')} (Intel VMD): bound to VFIO, all of them disappear. To ` +
    "use them one by one, switch VMD off in the firmware's setup: then they are devices of their own"
  );
}
