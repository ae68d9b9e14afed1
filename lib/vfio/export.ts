// Which part of a BAR is to be exported as a dma-buf.
import { array, integer, options, u64 } from '../errors/validate';

const mostRanges = 65536;

/** A part of a region, in bytes: multiples of the page size. */
export interface DmaRange {
  offset: number | bigint;
  length: number | bigint;
}

/** What to export: one range of a region, or several that make one buffer, in this order. */
export type ExportOptions = { region: number } & (DmaRange | { ranges: readonly DmaRange[] });

// Not `in`, which a property of Object.prototype would do for.
const hasRanges = <T extends object>(what: T): what is Extract<T, { ranges: unknown }> => Object.hasOwn(what, 'ranges');

/** The ranges as native code takes them: offset, length, offset, length …; and their length together. @internal */
export function toExport(opts: ExportOptions): { region: number; words: BigUint64Array<ArrayBuffer>; size: bigint } {
  const what = options(opts);
  const region = integer(what.region, 'region', 0, 0xffff_ffff);
  const ranges = hasRanges(what) ? array(what.ranges, 'ranges') : [what];
  integer(ranges.length, 'ranges.length', 0, mostRanges);
  const words = new BigUint64Array(2 * ranges.length);
  let size = 0n;
  for (const [i, range] of ranges.entries()) {
    const { offset, length } = options(range, 'range');
    const count = u64(length, 'length');
    words[2 * i] = u64(offset, 'offset');
    words[2 * i + 1] = count;
    size += count;
  }
  return { region, words, size };
}
