// Writes the text form of a machine, which native/fake/machine.cc reads: words in the order of the fields. Numbers are
// hex without 0x; '-' is an empty word; a list begins with its length.
import type { NativeCapability, NativeDevice, NativeMachine } from '../addon/native';

const number = (value: bigint | number | boolean): string => BigInt(value).toString(16);
const word = (text: string): string => (text === '' ? '-' : text);
const bytes = (data: Uint8Array): string => word(Buffer.from(data).toString('hex'));
const list = <T>(items: readonly T[], write: (item: T) => string): string =>
  [number(items.length), ...items.map(write)].join(' ');

const capabilities = (all: readonly NativeCapability[]): string =>
  list(all, ({ id, version, data }) => `${number(id)} ${number(version)} ${bytes(data)}`);

function device(native: NativeDevice): string {
  const { msix } = native;
  return [
    `\n${native.address} ${native.cdev} ${native.syspath} ${native.model}`,
    bytes(native.config),
    bytes(native.configWritable),
    ...Array.from({ length: 6 }, (_, i) => native.bars[i]).map((bar) =>
      bar ? `${bar.kind} ${number(bar.size)}` : '- 0',
    ),
    number(native.romSize),
    ...native.irqs.map(({ flags, count }) => `${number(flags)} ${number(count)}`),
    msix ? `1 ${number(msix.bar)} ${number(msix.offset)} ${number(msix.size)}` : '0',
    number(native.group),
    number(native.virtualFunctions),
    word(native.physical),
    capabilities(native.capabilities),
    ...native.regionCapabilities.map(capabilities),
  ].join(' ');
}

export function machineText({ iommufd, iommu, devices, mdevs }: NativeMachine): string {
  return [
    'vfio-dmabuf-machine-1',
    number(iommufd),
    number(iommu.lastIova),
    number(iommu.capability),
    number(iommu.extendedCapability),
    list(iommu.reserved, ({ start, last }) => `${number(start)} ${number(last)}`),
    list(devices, device),
    list(mdevs, ({ cdev, type }) => `\n${cdev} ${type}`),
    '',
  ].join(' ');
}
