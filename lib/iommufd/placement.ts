// Where a mapping goes and what it shows: what the caller says, checked, and what a mapping keeps of it.
import type { DmaBuf } from '../dmabuf/dma-buf';
import { accesses, oneOf, option, outOfRange, u64, type Access } from '../errors/validate';

// linux/iommufd.h: IOMMU_IOAS_MAP_WRITEABLE, IOMMU_IOAS_MAP_READABLE
const accessFlags: Record<Access, bigint> = { r: 4n, w: 2n, rw: 6n };

/** Where a mapping goes, which part of the memory it shows, and what devices may do to it. */
export interface MapOptions {
  /** The IOVA: a multiple of the IOAS's alignment, in its usable ranges. The kernel chooses one if it is left out. */
  iova?: number | bigint | undefined;
  /** The first byte of the memory to map. Default 0. */
  offset?: number | bigint | undefined;
  /** How many bytes. Default: all from `offset` on. */
  length?: number | bigint | undefined;
  /** What devices may do. Default 'rw'. */
  access?: Access | undefined;
}

/** How a dma-buf is mapped. */
export interface MapDmaBufOptions extends MapOptions {
  /**
   * Restores the mapping at its IOVA as soon as the exporting device decodes memory again, after whatever this thread's
   * objects do to the device. The mapping then holds the buffer itself, which may be closed. Default false.
   */
  autoRemap?: boolean | undefined;
}

/** @internal */
export interface Placement {
  iova: bigint | undefined;
  offset: bigint;
  length: bigint;
  access: bigint;
}

/** Checks map options against the memory's size. @internal */
export function toPlacement(opts: MapOptions | undefined, size: bigint): Placement {
  const iova = option(opts, 'iova');
  const start = option(opts, 'offset');
  const count = option(opts, 'length');
  const access = option(opts, 'access');
  const offset = start === undefined ? 0n : u64(start, 'offset', 0n, size);
  if (count === undefined && offset === size) throw outOfRange('offset', 'before the end of the memory', start);
  return {
    iova: iova === undefined ? undefined : u64(iova, 'iova'),
    offset,
    length: count === undefined ? size - offset : u64(count, 'length', 1n, size - offset),
    access: accessFlags[access === undefined ? 'rw' : oneOf(access, 'access', accesses)],
  };
}

/** What a mapping shows. @internal */
export interface Source {
  /** From here on, in bytes. */
  offset: bigint;
  length: bigint;
  /** IOMMU_IOAS_MAP_* */
  access: bigint;
  /** None: host memory. */
  dmaBuf: DmaBuf | undefined;
  /** How often the dma-buf had been revoked before the mapping was made. */
  revocations: number;
  /** Whether it is restored by itself. Then `dmaBuf` is the mapping's own. */
  autoRemap: boolean;
}

/** Host memory, as a mapping shows it. @internal */
export function toSource({ offset, length, access }: Placement): Source {
  return { offset, length, access, dmaBuf: undefined, revocations: 0, autoRemap: false };
}
