// Creates dma-bufs from the pages of memfds with /dev/udmabuf.
import { type FdHandle, native } from '../addon/native';
import { udmabufPath as path, withUdmabuf } from './udmabuf-driver';
import { kernelCall } from '../errors/errors';
import { onlyKnown } from '../errors/unknown-option';
import { array, fields, integer, invalidType, u64 } from '../errors/validate';
import type { Kernel } from '../kernel/kernel';

/** A memfd and its size in bytes. {@link DmaMemory} implements it. */
export interface HostMemory {
  readonly fd: number;
  readonly size: number;
}

/** Host memory for {@link DmaBuf.fromMemory}: all of it, or a part in whole pages. */
export interface MemoryRange {
  /** A {@link HostMemory}, or the fd of a memfd; an fd requires `length`. */
  memory: HostMemory | number;
  /** The offset in bytes. Default: 0. */
  offset?: number | bigint;
  /** The length in bytes. Default: up to the end. */
  length?: number | bigint;
}

const wordsPerItem = 3;

/** @internal */
export function createUdmabuf(kernel: Kernel, ranges: readonly MemoryRange[]): FdHandle {
  const words = new BigUint64Array(wordsPerItem * array(ranges, 'ranges').length);
  let size = 0n;
  for (const [i, range] of ranges.entries()) {
    const item = toItem(range, `ranges[${String(i)}]`);
    words.set(item, wordsPerItem * i);
    size += item[2];
  }
  return withUdmabuf(kernel, (driver) =>
    kernelCall({ path, ranges: ranges.length, size }, () => native.udmabufCreateList(driver, words), { kernel }),
  );
}

function toItem(range: MemoryRange, name: string): [fd: bigint, offset: bigint, length: bigint] {
  const { memory, offset, length } = fields(range, name);
  // Without `memory`, it is no range but another object, perhaps the memory itself: an invalid type, as below.
  if ((memory as unknown) !== undefined) onlyKnown(range, ['memory', 'offset', 'length'], name);
  const start = u64(offset ?? 0n, `${name}.offset`);
  if (typeof memory === 'number') {
    const fd = integer(memory, `${name}.memory`, 0, 0x7fff_ffff);
    return [BigInt(fd), start, u64(length, `${name}.length`)];
  }
  const bytes = fields<Partial<HostMemory>>(memory, `${name}.memory`).size;
  if (typeof bytes !== 'number') throw invalidType(`${name}.memory`, 'an instance of DmaMemory or an fd', memory);
  const size = BigInt(integer(bytes, `${name}.memory.size`, 0, Number.MAX_SAFE_INTEGER));
  u64(start, `${name}.offset`, 0n, size);
  const fd = integer(memory.fd, `${name}.memory.fd`, 0, 0x7fff_ffff);
  return [BigInt(fd), start, u64(length ?? size - start, `${name}.length`, 0n, size - start)];
}
