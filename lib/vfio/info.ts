// What VFIO_DEVICE_GET_INFO and VFIO_DEVICE_GET_IRQ_INFO tell.
import type { NativeInfo } from '../addon/native';
import { deviceCapabilities, type DeviceCapability } from './capabilities';
import { deviceFlags, irqFlags } from './constants';

/** What a device is. */
export interface DeviceInfo {
  /** A PCI device of vfio-pci. */
  pci: boolean;
  /** Whether it can be reset on its own. */
  resettable: boolean;
  /** How many regions and interrupt indices there can be. */
  regions: number;
  irqs: number;
  /** All flag bits, as the kernel gave them. */
  flags: number;
  capabilities: DeviceCapability[];
}

/** What an interrupt index offers. */
export interface IrqInfo {
  /** How many interrupts: 0, the device has no such kind. */
  count: number;
  eventfd: boolean;
  maskable: boolean;
  automasked: boolean;
  noresize: boolean;
}

/** @internal */
export function toDeviceInfo(info: NativeInfo & { regions: number; irqs: number }): DeviceInfo {
  return {
    pci: (info.flags & deviceFlags.pci) !== 0,
    resettable: (info.flags & deviceFlags.reset) !== 0,
    regions: info.regions,
    irqs: info.irqs,
    flags: info.flags,
    capabilities: deviceCapabilities(info),
  };
}

/** @internal */
export function toIrqInfo({ flags, count }: { flags: number; count: number }): IrqInfo {
  return {
    count,
    eventfd: (flags & irqFlags.eventfd) !== 0,
    maskable: (flags & irqFlags.maskable) !== 0,
    automasked: (flags & irqFlags.automasked) !== 0,
    noresize: (flags & irqFlags.noresize) !== 0,
  };
}
