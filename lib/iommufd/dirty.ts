// Which pages a device wrote to: what is asked for, and the bitmap that answers it.
import { native } from '../addon/native';
import { boolean, options, outOfRange, u64 } from '../errors/validate';

/** What to look at, and how. */
export interface DirtyOptions {
  /** In which steps: a power of two, at least the IOMMU's own page size. Default: the system's page size. */
  pageSize?: number | bigint | undefined;
  /** Leaves the pages dirty, to be told again. Default false: each is told once. */
  keep?: boolean | undefined;
}

/** A range of IOVAs to look at, in whole pages. */
export interface DirtyRange {
  iova: number | bigint;
  length: number | bigint;
}

/** What a device wrote to. */
export interface DirtyPages {
  iova: bigint;
  length: bigint;
}

// A bitmap of 128 MiB.
const mostPages = 2n ** 30n;

/** @internal */
export function toDirtyOptions(opts: DirtyOptions | undefined): { pageSize: bigint; keep: boolean } {
  const { pageSize: given, keep } = options(opts);
  const pageSize = u64(given ?? native.pageSize, 'pageSize', 1n, 2n ** 63n);
  if ((pageSize & (pageSize - 1n)) !== 0n) throw outOfRange('pageSize', 'a power of two', given);
  return { pageSize, keep: boolean(keep ?? false, 'keep') };
}

/** @internal */
export function toDirtyRange({ iova, length }: DirtyRange, pageSize: bigint): { iova: bigint; length: bigint } {
  return { iova: u64(iova, 'iova'), length: u64(length, 'length', 1n, mostPages * pageSize) };
}

/** The runs of set bits, as IOVAs from `first` on. @internal */
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
  return runs;
}
