// Finds free IOVAs in a container, where the kernel does not choose them.
import { native } from '../addon/native';

const hugePage = 1n << 21n;

/**
 * Returns the lowest free IOVA for `length` bytes, or undefined if there is none. Never returns 0. Mappings of 2 MiB or
 * more are aligned to 2 MiB so that the IOMMU can use huge pages. @internal
 */
export function findHole(
  ranges: readonly { start: bigint; last: bigint }[],
  taken: readonly { iova: bigint; length: bigint }[],
  length: bigint,
): bigint | undefined {
  const page = native.pageSize;
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
