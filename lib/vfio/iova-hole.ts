// Where there is room in an I/O address space whose kernel does not choose.
import { native } from '../addon/native';

const page = native.pageSize;
const hugePage = 1n << 21n;

/**
 * The lowest free IOVA for `length` bytes, never 0. Large mappings are aligned so that the IOMMU can use huge pages.
 * Undefined: there is no room. @internal
 */
export function findHole(
  ranges: readonly { start: bigint; last: bigint }[],
  taken: readonly { iova: bigint; length: bigint }[],
  length: bigint,
): bigint | undefined {
  const alignment = length >= hugePage ? hugePage : page;
  const up = (iova: bigint) => ((iova + alignment - 1n) / alignment) * alignment;
  const inOrder = [...taken].sort((a, b) => (a.iova < b.iova ? -1 : 1));
  for (const { start, last } of ranges) {
    let at = up(start > page ? start : page);
    for (const { iova, length: size } of inOrder) {
      if (iova + size <= at) continue;
      if (iova >= at + length) break;
      at = up(iova + size);
    }
    if (at + length - 1n <= last) return at;
  }
  return undefined;
}
