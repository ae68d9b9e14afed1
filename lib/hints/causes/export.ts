// Finds why a part of a BAR cannot be exported.
import { join } from 'node:path';
import { native } from '../../addon/native';
import type { Arguments, Around } from '../../errors/around';
import { hex } from './amounts';
import { linked, text } from '../../kernel/look';
import { generic } from '../../pci/vfio-driver';
import { barOwners, ownerText, unassignedBars } from '../../pci/obstacles';

/** Said where pages are not of the usual size. */
const largePages = () => (native.pageSize === 4096n ? '' : ` (pages of this kernel are ${hex(native.pageSize)})`);
const ioPorts = 0x100n; // ioport.h: IORESOURCE_IO

interface Bar {
  isPorts: boolean;
  size: bigint;
}

function barOf({ device, region }: Arguments, { kernel }: Around): Bar | undefined {
  if (!kernel || device === undefined || region === undefined) return undefined;
  const line = text(join(kernel.sysfs, 'bus/pci/devices', device, 'resource')).split('\n')[region] ?? '';
  const [start = 0n, last = 0n, flags = 0n] = line.split(' ').map(BigInt);
  return last === 0n ? undefined : { isPorts: (flags & ioPorts) !== 0n, size: last - start + 1n };
}

/** EINVAL at export. */
export function badRange(args: Arguments, around: Around): string | undefined {
  const { words } = around;
  if (!words) return undefined;
  if (words.length === 0) return 'no range was given';
  const { pageSize } = native;
  const bar = barOf(args, around);
  if (bar?.isPorts) return `BAR ${args.region ?? ''} is I/O ports: only memory can be exported`;
  if (bar && bar.size < pageSize)
    return `BAR ${args.region ?? ''} is ${hex(bar.size)} bytes, smaller than a page of this kernel (${hex(pageSize)}): it cannot be exported`;
  let sum = 0n;
  for (let i = 0; i < words.length; i += 2) {
    const [offset = 0n, length = 0n] = [words[i], words[i + 1]];
    const range = `range ${i / 2} (offset ${hex(offset)}, length ${hex(length)})`;
    if (length === 0n) return `${range} is empty`;
    if (offset % pageSize !== 0n || length % pageSize !== 0n) return `${range} is not page aligned${largePages()}`;
    if (bar && offset + length > bar.size)
      return `${range} reaches past the end of BAR ${args.region ?? ''}, ${hex(bar.size)}`;
    sum += length;
  }
  if (sum >= 1n << 64n) return `the ranges are ${hex(sum)} bytes together, which does not fit 64 bits`;
  return around.isBound?.() === false ? 'the device is not bound to an iommufd: bind() first' : undefined;
}

/** Names what has reserved a part of the BAR. */
export function reservedBar({ device, region }: Arguments, { kernel }: Around): string | undefined {
  if (!kernel || device === undefined || region === undefined) return undefined;
  const owner = barOwners(kernel.sysfs, device).find(({ bar }) => bar === region);
  return owner && ownerText(owner, kernel.sysfs);
}

/** ENODEV at export. */
export function noBar(args: Arguments, around: Around): string | undefined {
  const region = args.region ?? 0;
  if (region >= 6) return `region ${region} is no BAR: only regions 0 to 5 can be exported`;
  if (args.device === undefined || !around.kernel) return undefined;
  if (!barOf(args, around)) {
    return `the device has no BAR ${region} (a 64-bit BAR takes two numbers, of which the first counts)`;
  }
  return (
    reservedBar(args, around) ??
    unassignedBars(around.kernel.sysfs, args.device) ??
    `the kernel could not reserve BAR ${region}: another driver may have it, such as the firmware's frame buffer ` +
      '(/proc/iomem shows root which)'
  );
}

/** EOPNOTSUPP at export. */
export function noExport({ device }: Arguments, { kernel }: Around): string | undefined {
  const driver =
    kernel && device !== undefined ? linked(join(kernel.sysfs, 'bus/pci/devices', device, 'driver')) : undefined;
  if (driver === undefined || driver === generic) return undefined;
  return (
    `${driver}, the VFIO driver of this device, does not export dma-bufs on this kernel; the generic one does: ` +
    `npx vfio-dmabuf bind ${device ?? ''} --driver ${generic}`
  );
}
