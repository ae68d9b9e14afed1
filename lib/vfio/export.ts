// Export options: checks the parts of a BAR to export as a dma-buf.
import { array, fields, integer, options, u64 } from '../errors/validate';

const mostRanges = 65536;

/** A part of a region, in bytes. Both values must be multiples of the page size. */
export interface DmaRange {
  offset: number | bigint;
  length: number | bigint;
}

/** The part to export: one range of a region, or several ranges that form one buffer in this order. */
export type ExportOptions = { region: number } & (DmaRange | { ranges: readonly DmaRange[] });

/** The other properties of an NvmeCmb, which is accepted as a range. @internal */
export const ofCmb = ['submissionQueues', 'completionQueues', 'lists', 'readData', 'writeData'];

// Not the operator `in`, which also finds properties of Object.prototype.
const hasRanges = <T extends object>(what: T): what is Extract<T, { ranges: unknown }> => Object.hasOwn(what, 'ranges');

/** Converts the ranges for native code (offset, length, offset, length, …) and adds up their lengths. @internal */
export function toExport(opts: ExportOptions): { region: number; words: BigUint64Array<ArrayBuffer>; size: bigint } {
  const what = options(opts, ['region', 'offset', 'length', 'ranges'], 'options', ofCmb);
  const region = integer(what.region, 'region', 0, 0xffff_ffff);
  const ranges = hasRanges(what) ? array(what.ranges, 'ranges') : [what];
  integer(ranges.length, 'ranges.length', 0, mostRanges);
  const words = new BigUint64Array(2 * ranges.length);
  let size = 0n;
  for (const [i, range] of ranges.entries()) {
    const { offset, length } = fields(range, 'range');
    const count = u64(length, 'length');
    words[2 * i] = u64(offset, 'offset');
    words[2 * i + 1] = count;
    size += count;
  }
  return { region, words, size };
}
