// A machine as QEMU's arguments.
import { deviceKinds, type DeviceKind } from './devices';
import type { Machine } from './machine';

/** The arguments that make QEMU's q35 the machine: its IOMMU, root ports and devices, at the same PCI addresses. */
export function qemuArguments(machine: Machine): string[] {
  const devices = machine.ports.flatMap(({ role, kind }, i) => {
    const number = String(i + 1);
    const description: DeviceKind = deviceKinds[kind];
    return [
      '-device',
      `pcie-root-port,bus=pcie.0,addr=${(i + 1).toString(16)}.0,id=port${number},chassis=${number},slot=${number}`,
      ...description.qemu(`port${number}`, role),
    ];
  });
  return [
    ...['-machine', 'q35,kernel-irqchip=split'],
    // Before the devices that it translates for.
    ...['-device', 'intel-iommu,intremap=on,device-iotlb=on,caching-mode=on'],
    ...devices,
  ];
}
