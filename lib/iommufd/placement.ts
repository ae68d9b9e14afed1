// Map options: checks IOVA, range and access, and describes the memory that a mapping maps.
import type { DmaBuf } from '../dmabuf/dma-buf';
import { accesses, oneOf, option, outOfRange, u64, type Access } from '../errors/validate';
import { onlyKnown } from '../errors/unknown-option';

// linux/iommufd.h: IOMMU_IOAS_MAP_WRITEABLE, IOMMU_IOAS_MAP_READABLE
const accessFlags: Record<Access, bigint> = { r: 4n, w: 2n, rw: 6n };

/** The name of access flags. @internal */
export function accessName(flags: bigint): Access | undefined {
  return accesses.find((name) => accessFlags[name] === flags);
}

/** The IOVA of a mapping, the part of the memory that is mapped, and the access that devices have. */
export interface MapOptions {
  /** The IOVA: a multiple of the IOAS's alignment, within its usable ranges. Default: the kernel chooses one. */
  iova?: number | bigint | undefined;
  /** The offset of the first byte to map. Default: 0. */
  offset?: number | bigint | undefined;
  /** The number of bytes. Default: all from `offset` on. */
  length?: number | bigint | undefined;
  /** The access that devices have. Default: 'rw'. */
  access?: Access | undefined;
}

const mapOptions = ['iova', 'offset', 'length', 'access'] as const satisfies readonly (keyof MapOptions)[];

/** How a dma-buf is mapped. */
export interface MapDmaBufOptions extends MapOptions {
  /**
   * Maps the buffer again at the same IOVA as soon as the exporting device decodes memory again, after any operation of
   * this thread's objects on the device. The mapping holds its own reference to the buffer: the given {@link DmaBuf}
   * may be closed. Default: false.
   */
  autoRemap?: boolean | undefined;
}

/** @internal */
export const mapDmaBufOptions = [...mapOptions, 'autoRemap'] as const satisfies readonly (keyof MapDmaBufOptions)[];

/** @internal */
export interface Placement {
  iova: bigint | undefined;
  offset: bigint;
  length: bigint;
  access: bigint;
}

/** Checks map options against the memory's size. @internal */
export function toPlacement(
  opts: MapOptions | undefined,
  size: bigint,
  known: readonly string[] = mapOptions,
): Placement {
  onlyKnown(opts, known);
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

/** The memory of a mapping. @internal */
export interface Source {
  /** The offset of the first byte. */
  offset: bigint;
  length: bigint;
  /** IOMMU_IOAS_MAP_* flags. */
  access: bigint;
  /** Undefined: host memory. */
  dmaBuf: DmaBuf | undefined;
  /** The number of revocations of the dma-buf before the mapping was made. */
  revocations: number;
  /** Whether the mapping is restored automatically. If so, the mapping owns `dmaBuf`. */
  autoRemap: boolean;
}

/** Describes a mapping of host memory. @internal */
export function toSource({ offset, length, access }: Placement): Source {
  return { offset, length, access, dmaBuf: undefined, revocations: 0, autoRemap: false };
}
