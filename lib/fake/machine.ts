// A machine: which devices there are, behind which ports, and what its IOMMU can do. One description, realised as a
// fake kernel (kernel.ts) and as QEMU's arguments (qemu.ts).
import { integer, outOfRange, string } from '../errors/validate';
import type { DeviceKindName } from './devices';

/** A device, named by the part it plays. */
export interface MachineDevice {
  /** Unique in the machine: 'engine', 'ssd', … */
  role: string;
  kind: DeviceKindName;
  /**
   * The roles of its SR-IOV virtual functions, which are made when VFIO has the device. Virtual function i (from 0) is
   * function i+1 of the same slot.
   */
  virtualFunctions?: readonly string[];
}

/** What is behind a root port: a device's function 0, and further functions, from 1 on. */
export interface MachinePort extends MachineDevice {
  functions?: readonly MachineDevice[];
}

/** A mediated device: one that a driver of the kernel makes up (Linux's samples/vfio-mdev), without a PCI address. */
export interface MachineMdev {
  /** Unique in the machine, among the devices' too. */
  role: string;
  /** The kernel's name for the type, its driver first: 'mtty-2', 'mbochs-small', 'mdpy-vga'. */
  type: string;
}

/** A machine: PCI Express root ports on bus 0, each with one device behind it. */
export interface Machine {
  name: string;
  /** Port i (from 0) is the bridge 00:(i+1).0 and leads to bus i+1, where its device is device 0. */
  ports: readonly MachinePort[];
  /** The CPU, which the kernel's rules for peer-to-peer DMA ask for. Default: {@link defaultCpu}. */
  cpu?: { vendor: string; family: number };
  /** Whether its kernel has IOMMUFD, and with it VFIO's character devices. Default true. */
  iommufd?: boolean;
  /** VFIO has them behind those of the ports. */
  mdevs?: readonly MachineMdev[];
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

/** QEMU's own, which the kernel does not trust to pass DMA between host bridges. @internal */
export const defaultCpu = { vendor: 'AuthenticAMD', family: 15 } as const;

/** A function of a device, and where it is. @internal */
export interface MachineFunction {
  role: string;
  kind: DeviceKindName;
  /** Of the port, from 0. */
  port: number;
  address: string;
  /** The physical function's address, of a virtual one. */
  physical: string | undefined;
  virtualFunctions: number;
  /** Whether it is function 0 of several. */
  several: boolean;
}

/** The bus address of the bridge that leads to port `index`. */
export function bridgeAddress(index: number): string {
  return `0000:00:${(index + 1).toString(16).padStart(2, '0')}.0`;
}

/** The bus address of the device behind port `index`, or of another of its functions. */
export function deviceAddress(index: number, which = 0): string {
  return `0000:${(index + 1).toString(16).padStart(2, '0')}:00.${String(which)}`;
}

/** Every function of the machine: those of all ports in order, and then the virtual ones. @internal */
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

/** The UUID of mediated device `index`. */
export function mdevUuid(index: number): string {
  return `6d646576-0000-4000-8000-${integer(index, 'index', 0, 0xffff_ffff).toString(16).padStart(12, '0')}`;
}

/** Who makes a mediated device of this type up: the driver's name, which its parent device shares. */
export function mdevDriver(type: string): string {
  return string(type, 'type').split('-')[0] ?? type;
}

/** The PCI address of the device that plays `role`; a mediated device's UUID. */
export function addressOf(machine: Machine, role: string): string {
  const [functions, mdevs] = [functionsOf(machine), machine.mdevs ?? []];
  const found = functions.find((device) => device.role === role);
  if (found) return found.address;
  const mdev = mdevs.findIndex((device) => device.role === role);
  if (mdev >= 0) return mdevUuid(mdev);
  const roles = [...functions, ...mdevs].map((device) => device.role);
  throw outOfRange('role', `one of ${roles.join(', ')}`, role);
}
