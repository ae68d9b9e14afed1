// Converts a machine description to QEMU's arguments.
import { deviceKinds, type DeviceKind, type DeviceKindName } from './devices';
import { defaultCpu, type Machine } from './machine';

const toArguments = (kind: DeviceKindName, bus: string, role: string): string[] => {
  const description: DeviceKind = deviceKinds[kind];
  return description.qemu(bus, role);
};

/**
 * Returns the arguments with which QEMU's q35 implements the machine: a CPU with all features that QEMU supports, the
 * IOMMU, root ports and devices at the same PCI addresses.
 */
export function qemuArguments(machine: Machine): string[] {
  const devices = machine.ports.flatMap(({ role, kind, functions = [] }, i) => {
    const number = String(i + 1);
    const several = functions.length > 0 ? ',multifunction=on' : '';
    return [
      '-device',
      `pcie-root-port,bus=pcie.0,addr=${(i + 1).toString(16)}.0,id=port${number},chassis=${number},slot=${number}`,
      ...toArguments(kind, `port${number}${several}`, role),
      ...functions.flatMap((device, j) =>
        toArguments(device.kind, `port${number},addr=0.${String(j + 1)}`, device.role),
      ),
    ];
  });
  const { vendor, family } = machine.cpu ?? defaultCpu;
  return [
    ...['-machine', 'q35,kernel-irqchip=split', '-cpu', `max,vendor=${vendor},family=${String(family)}`],
    // The IOMMU must precede the devices that it translates for.
    ...['-device', 'intel-iommu,intremap=on,device-iotlb=on,caching-mode=on'],
    ...devices,
  ];
}
