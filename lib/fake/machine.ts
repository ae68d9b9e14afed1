// Machine describes a machine: its devices, their ports and its IOMMU. The same description is used for a fake kernel
// (kernel.ts) and for QEMU's arguments (qemu.ts).
import { integer, outOfRange, string } from '../errors/validate';
import type { DeviceKindName } from './devices';

/** A device with its role in the machine. */
export interface MachineDevice {
  /** The role, unique in the machine: 'engine', 'ssd', … */
  role: string;
  kind: DeviceKindName;
  /**
   * The roles of its SR-IOV virtual functions, which are created when the device is bound to VFIO. Virtual function i
   * (from 0) is function i+1 of the same slot.
   */
  virtualFunctions?: readonly string[];
}

/** The device behind a root port: function 0, and optional further functions from 1 on. */
export interface MachinePort extends MachineDevice {
  functions?: readonly MachineDevice[];
}

/** A mediated device: created by a kernel driver (Linux's samples/vfio-mdev), without a PCI address. */
export interface MachineMdev {
  /** The role, unique among all devices of the machine. */
  role: string;
  /** The kernel's name of the type, which starts with the driver: 'mtty-2', 'mbochs-small', 'mdpy-vga'. */
  type: string;
}

/** A machine: PCI Express root ports on bus 0, each with one device behind it. */
export interface Machine {
  name: string;
  /** The ports. Port i (from 0) is the bridge 00:(i+1).0 and leads to bus i+1, where its device is device 0. */
  ports: readonly MachinePort[];
  /** The CPU, which the kernel's rules for peer-to-peer DMA depend on. Default: {@link defaultCpu}. */
  cpu?: { vendor: string; family: number };
  /** Whether the kernel has IOMMUFD, and therefore VFIO's character devices. Default: true. */
  iommufd?: boolean;
  /** The mediated devices. Their VFIO device numbers follow those of the ports' devices. */
  mdevs?: readonly MachineMdev[];
  iommu: {
    /** The highest IOVA that the IOMMU translates. */
    lastIova: bigint;
    /** The IOVA ranges that cannot be mapped, ascending; `last` is inclusive. */
    reserved: readonly { start: bigint; last: bigint }[];
    /** Intel's capability register, from which software reads the IOMMU's features. */
    capability?: bigint;
    extendedCapability?: bigint;
  };
}

/** QEMU's default CPU. The kernel does not trust it to route DMA between host bridges. @internal */
export const defaultCpu = { vendor: 'AuthenticAMD', family: 15 } as const;

/** A function of a device, and its location. @internal */
export interface MachineFunction {
  role: string;
  kind: DeviceKindName;
  /** The port's index, from 0. */
  port: number;
  address: string;
  /** The address of the physical function, if this is a virtual function. */
  physical: string | undefined;
  virtualFunctions: number;
  /** Whether this is function 0 of a device with several functions. */
  several: boolean;
}

/** Returns the bus address of the bridge of port `index`. */
export function bridgeAddress(index: number): string {
  return `0000:00:${(index + 1).toString(16).padStart(2, '0')}.0`;
}

/** Returns the bus address of function `which` of the device behind port `index`. */
export function deviceAddress(index: number, which = 0): string {
  return `0000:${(index + 1).toString(16).padStart(2, '0')}:00.${String(which)}`;
}

/** Returns every function of the machine: those of all ports in order, then the virtual functions. @internal */
export function functionsOf({ ports }: Machine): MachineFunction[] {
  const physical = ports.flatMap((port, i) =>
    [port, ...(port.functions ?? [])].map((device, which) => ({ device, port: i, which })),
  );
  const real = physical.map(({ device: { role, kind, virtualFunctions }, port, which }) => {
    const several = which === 0 && (ports[port]?.functions?.length ?? 0) > 0;
    const address = deviceAddress(port, which);
    return { role, kind, port, address, physical: undefined, virtualFunctions: virtualFunctions?.length ?? 0, several };
  });
  const virtual = physical.flatMap(({ device: { kind, virtualFunctions = [] }, port }) =>
    virtualFunctions.map((role, i) => {
      const address = deviceAddress(port, i + 1);
      return { role, kind, port, address, physical: deviceAddress(port), virtualFunctions: 0, several: false };
    }),
  );
  return [...real, ...virtual];
}

/** Returns the UUID of mediated device `index`. */
export function mdevUuid(index: number): string {
  return `6d646576-0000-4000-8000-${integer(index, 'index', 0, 0xffff_ffff).toString(16).padStart(12, '0')}`;
}

/** Returns the name of the driver that creates mediated devices of this type. Their parent device has the same name. */
export function mdevDriver(type: string): string {
  return string(type, 'type').split('-')[0] ?? type;
}

/** Returns the PCI address of the device with role `role`, or the UUID of a mediated device. */
export function addressOf(machine: Machine, role: string): string {
  const [functions, mdevs] = [functionsOf(machine), machine.mdevs ?? []];
  const found = functions.find((device) => device.role === role);
  if (found) return found.address;
  const mdev = mdevs.findIndex((device) => device.role === role);
  if (mdev >= 0) return mdevUuid(mdev);
  const roles = [...functions, ...mdevs].map((device) => device.role);
  throw outOfRange('role', `one of ${roles.join(', ')}`, role);
}
