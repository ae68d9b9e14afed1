// Page-aligned parts of a region.
import { data } from '../addon/shown';
import { native } from '../addon/native';

/** A part of a region, in bytes. */
export interface RegionRange {
  offset: bigint;
  length: bigint;
}

const down = (value: bigint) => value & ~(native.pageSize - 1n);

/** Returns the whole pages within the first `size` bytes that do not overlap a hole, ascending. @internal */
export function wholePages(size: bigint, holes: readonly RegionRange[]): RegionRange[] {
  const last = down(size);
  const ranges: RegionRange[] = [];
  let from = 0n;
  const ascending = holes.filter(({ length }) => length > 0n).sort((a, b) => (a.offset < b.offset ? -1 : 1));
  for (const hole of [...ascending, { offset: last, length: 0n }]) {
    const start = down(hole.offset);
    const until = start < last ? start : last;
    if (until > from) ranges.push(data({ offset: from, length: until - from }));
    const next = down(hole.offset + hole.length + native.pageSize - 1n);
    if (next > from) from = next;
  }
  return ranges;
}
