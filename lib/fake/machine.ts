// A machine: which devices there are, behind which ports, and what its IOMMU can do. One description, realised as a
// fake kernel (kernel.ts) and as QEMU's arguments (qemu.ts).
import { outOfRange } from '../validate';
import type { DeviceKindName } from './devices';

/** A device, named by the part it plays. */
export interface MachineDevice {
  /** Unique in the machine: 'engine', 'ssd', … */
  role: string;
  kind: DeviceKindName;
}

/** A machine: PCI Express root ports on bus 0, each with one device behind it. */
export interface Machine {
  name: string;
  /** Port i (from 0) is the bridge 00:(i+1).0 and leads to bus i+1, where its device is function 0 of device 0. */
  ports: readonly MachineDevice[];
  iommu: {
    /** The highest IOVA that it translates. */
    lastIova: bigint;
    /** IOVAs that cannot be mapped, ascending; `last` included. */
    reserved: readonly { start: bigint; last: bigint }[];
    /** Intel's capability registers, which software reads what the IOMMU can do from. */
    capability?: bigint;
    extendedCapability?: bigint;
  };
}

/** The bus address of the bridge that leads to port `index`. */
export function bridgeAddress(index: number): string {
  return `0000:00:${(index + 1).toString(16).padStart(2, '0')}.0`;
}

/** The bus address of the device behind port `index`. */
export function deviceAddress(index: number): string {
  return `0000:${(index + 1).toString(16).padStart(2, '0')}:00.0`;
}

/** The address of the device that plays `role`. */
export function addressOf(machine: Machine, role: string): string {
  const index = machine.ports.findIndex((device) => device.role === role);
  if (index < 0) throw outOfRange('role', `one of ${machine.ports.map((device) => device.role).join(', ')}`, role);
  return deviceAddress(index);
}
