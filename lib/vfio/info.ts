// Decodes VFIO_DEVICE_GET_INFO and VFIO_DEVICE_GET_IRQ_INFO.
import type { NativeInfo } from '../addon/native';
import { deviceCapabilities, type DeviceCapability } from './capabilities';
import { deviceFlags, irqFlags } from './constants';

/** The properties of a device. */
export interface DeviceInfo {
  /** Whether it is a PCI device of vfio-pci. */
  pci: boolean;
  /** Whether the device can be reset individually. */
  resettable: boolean;
  /** The number of region indices and of interrupt indices. */
  regions: number;
  irqs: number;
  /** All flag bits, as the kernel reported them. */
  flags: number;
  capabilities: DeviceCapability[];
}

/** The properties of an interrupt index. */
export interface IrqInfo {
  /** The number of interrupts. 0: the device has no interrupts of this kind. */
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
