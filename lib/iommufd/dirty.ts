// Dirty pages: the options of a query, and decoding of the bitmap that the kernel returns.
import { data } from '../addon/shown';
import { native } from '../addon/native';
import { boolean, options, outOfRange, u64 } from '../errors/validate';

/** How dirty pages are queried. */
export interface DirtyOptions {
  /** The granularity in bytes: a power of two, at least the IOMMU's page size. Default: the system's page size. */
  pageSize?: number | bigint | undefined;
  /** Does not clear the dirty bits: the next query returns the same pages again. Default: false. */
  keep?: boolean | undefined;
}

/** A range of IOVAs to query, in whole pages. */
export interface DirtyRange {
  iova: number | bigint;
  length: number | bigint;
}

/** A range of IOVAs that a device wrote to. */
export interface DirtyPages {
  iova: bigint;
  length: bigint;
}

// This many pages need a bitmap of 128 MiB.
const mostPages = 2n ** 30n;

/** @internal */
export function toDirtyOptions(opts: DirtyOptions | undefined): { pageSize: bigint; keep: boolean } {
  const { pageSize: given, keep } = options(opts, ['pageSize', 'keep']);
  const pageSize = u64(given ?? native.pageSize, 'pageSize', 1n, 2n ** 63n);
  if ((pageSize & (pageSize - 1n)) !== 0n) throw outOfRange('pageSize', 'a power of two', given);
  return { pageSize, keep: boolean(keep ?? false, 'keep') };
}

/** @internal */
export function toDirtyRange({ iova, length }: DirtyRange, pageSize: bigint): { iova: bigint; length: bigint } {
  return { iova: u64(iova, 'iova'), length: u64(length, 'length', 1n, mostPages * pageSize) };
}

/** Converts runs of set bits to ranges of IOVAs. Bit 0 stands for `first`. @internal */
export function toDirtyPages(bitmap: BigUint64Array, first: bigint, pageSize: bigint): DirtyPages[] {
  const runs: DirtyPages[] = [];
  const words = new Uint32Array(bitmap.buffer, bitmap.byteOffset, bitmap.length * 2);
  let start = -1;
  const end = (bit: number) => {
    if (start >= 0) runs.push({ iova: first + BigInt(start) * pageSize, length: BigInt(bit - start) * pageSize });
    start = -1;
  };
  for (const [i, word] of words.entries()) {
    if (word === 0) {
      end(32 * i);
      continue;
    }
    for (let bit = 0; bit < 32; bit += 1) {
      const dirty = ((word >>> bit) & 1) !== 0;
      if (!dirty) end(32 * i + bit);
      else if (start < 0) start = 32 * i + bit;
    }
  }
  end(32 * words.length);
  return data(runs);
}
