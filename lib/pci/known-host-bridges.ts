// The host bridges that Linux trusts to pass DMA from one device to another: drivers/pci/p2pdma.c of Linux 7.3. A host
// bridge goes by the first function on its root bus.
import type { PciFunction } from './function';

const intel = 0x8086;
const google = 0x1ae0;
const nvidia = 0x10de;

/** Xeon E5 and E7 up to their third generation: between two devices below the same host bridge only. */
const sameHostBridgeOnly = [0x3c00, 0x3c01, 0x2f00, 0x2f01];

const known: Readonly<Record<number, readonly number[] | 'all'>> = {
  [intel]: [
    ...sameHostBridgeOnly,
    // From Skylake's servers on
    ...[0x2020, 0x2030, 0x2031, 0x2032, 0x2033, 0x09a2],
    // Accelerators that are first on a root bus: DSA, IAA, QAT
    ...[0x0b25, 0x0cfe, 0x11fb, 0x1212, 0x1216, 0x4940, 0x4942, 0x4944, 0x4946, 0x4948],
  ],
  [google]: 'all',
  [nvidia]: [0x2f95, 0x2f96, 0x2f97, 0x2f98],
};

/** What stands for a host bridge: the first function on its bus, if it is device 0, function 0, or a root port. */
export function hostBridgeFunction(rootBus: readonly PciFunction[]): PciFunction | undefined {
  const [first] = rootBus;
  return first && (first.address.endsWith(':00.0') || first.port === 'root-port') ? first : undefined;
}

/** Whether Linux trusts it; `same`: both devices are below it. */
export function isKnownHostBridge({ vendor, device }: PciFunction, same: boolean): boolean {
  const devices = known[vendor];
  if (devices === undefined) return false;
  if (devices === 'all') return true;
  return devices.includes(device) && (same || !(vendor === intel && sameHostBridgeOnly.includes(device)));
}
