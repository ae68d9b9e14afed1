// The host bridges that Linux trusts to route DMA between devices: drivers/pci/p2pdma.c of Linux 7.3. A host bridge is
// identified by the first function on its root bus.
import type { PciFunction } from './function';

const intel = 0x8086;
const google = 0x1ae0;
const nvidia = 0x10de;

/** Xeon E5 and E7 up to the third generation: trusted only for two devices below the same host bridge. */
const sameHostBridgeOnly = [0x3c00, 0x3c01, 0x2f00, 0x2f01];

const known: Readonly<Record<number, readonly number[] | 'all'>> = {
  [intel]: [
    ...sameHostBridgeOnly,
    // Xeon servers since Skylake.
    ...[0x2020, 0x2030, 0x2031, 0x2032, 0x2033, 0x09a2],
    // Accelerators that are the first function on a root bus: DSA, IAA, QAT.
    ...[0x0b25, 0x0cfe, 0x11fb, 0x1212, 0x1216, 0x4940, 0x4942, 0x4944, 0x4946, 0x4948],
  ],
  [google]: 'all',
  [nvidia]: [0x2f95, 0x2f96, 0x2f97, 0x2f98],
};

/** Whether Linux trusts the host bridge. `same`: both devices are below it. */
export function isKnownHostBridge({ vendor, device }: PciFunction, same: boolean): boolean {
  const devices = known[vendor];
  if (devices === undefined) return false;
  if (devices === 'all') return true;
  return devices.includes(device) && (same || !(vendor === intel && sameHostBridgeOnly.includes(device)));
}

/** Whether Linux trusts the host bridge for two devices that are both below it, and only for these. */
export function isKnownWithin(bridge: PciFunction): boolean {
  return isKnownHostBridge(bridge, true) && !isKnownHostBridge(bridge, false);
}
