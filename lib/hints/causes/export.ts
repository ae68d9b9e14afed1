// Finds why a part of a BAR cannot be exported.
import { join } from 'node:path';
import { native } from '../../addon/native';
import type { Arguments, Around } from '../../errors/around';
import { hex } from './amounts';
import { text } from '../../kernel/look';

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
  const bar = barOf(args, around);
  if (bar?.isPorts) return `BAR ${args.region ?? ''} is I/O ports: only memory can be exported`;
  let sum = 0n;
  for (let i = 0; i < words.length; i += 2) {
    const [offset = 0n, length = 0n] = [words[i], words[i + 1]];
    const range = `range ${i / 2} (offset ${hex(offset)}, length ${hex(length)})`;
    if (length === 0n) return `${range} is empty`;
    if (offset % native.pageSize !== 0n || length % native.pageSize !== 0n) return `${range} is not page aligned`;
    if (bar && offset + length > bar.size)
      return `${range} reaches past the end of BAR ${args.region ?? ''}, ${hex(bar.size)}`;
    sum += length;
  }
  if (sum >= 1n << 64n) return `the ranges are ${hex(sum)} bytes together, which does not fit 64 bits`;
  return around.isBound?.() === false ? 'the device is not bound to an iommufd: bind() first' : undefined;
}

/** ENODEV at export. */
export function noBar(args: Arguments, around: Around): string | undefined {
  const region = args.region ?? 0;
  if (region >= 6) return `region ${region} is no BAR: only regions 0 to 5 can be exported`;
  if (args.device === undefined || !around.kernel) return undefined;
  return barOf(args, around)
    ? `the kernel could not reserve BAR ${region}: another driver may have it, such as the firmware's frame buffer`
    : `the device has no BAR ${region} (a 64-bit BAR takes two numbers, of which the first counts)`;
}
