// Decodes VFIO_IOMMU_GET_INFO: the properties of the IOMMU of a container.
import { data } from '../addon/shown';
import { native, type NativeInfo } from '../addon/native';
import { parseChain, type UnknownCapability } from './capabilities';

/** The properties of the IOMMU of a {@link VfioContainer}. */
export interface ContainerInfo {
  /** The page sizes that the IOMMU supports, in bytes, ascending. IOVAs and lengths must be multiples of the first. */
  pageSizes: bigint[];
  /**
   * The usable IOVAs in ascending order. `last` is inclusive. Each group can narrow them. Undefined: not reported by
   * this kernel.
   */
  iovaRanges: { start: bigint; last: bigint }[] | undefined;
  /** How many more mappings can be made. Undefined: not reported by this kernel. */
  dmaAvailable: number | undefined;
  /** The page sizes of dirty bitmaps. Undefined: dirty pages cannot be tracked. */
  dirtyTracking: { pageSizes: bigint[]; /** In bytes. */ maxBitmapSize: bigint } | undefined;
  /** All flag bits, as the kernel reported them. */
  flags: number;
  /** The capabilities that the library does not decode. */
  capabilities: UnknownCapability[];
}

// linux/vfio.h
const pageSizesFlag = 1 << 0;

function toSizes(bits: bigint): bigint[] {
  return Array.from({ length: 64 }, (_, i) => 1n << BigInt(i)).filter((size) => (bits & size) !== 0n);
}

function toRanges(view: DataView): { start: bigint; last: bigint }[] {
  const count = Math.min(view.getUint32(0, true), Math.floor((view.byteLength - 8) / 16));
  return Array.from({ length: count }, (_, i) => ({
    start: view.getBigUint64(8 + 16 * i, true),
    last: view.getBigUint64(16 + 16 * i, true),
  }));
}

type Decoded = Pick<ContainerInfo, 'iovaRanges' | 'dmaAvailable' | 'dirtyTracking'>;

/** By capability ID: the minimum number of bytes, and the decoder. */
const decoders: Partial<Record<number, { least: number; decode: (view: DataView) => Partial<Decoded> }>> = {
  1: { least: 8, decode: (view) => ({ iovaRanges: toRanges(view) }) },
  2: {
    least: 24,
    decode: (view) => ({
      dirtyTracking: {
        pageSizes: toSizes(view.getBigUint64(8, true)),
        maxBitmapSize: view.getBigUint64(16, true),
      },
    }),
  },
  3: { least: 4, decode: (view) => ({ dmaAvailable: view.getUint32(0, true) }) },
};

/** @internal */
export function toContainerInfo(info: NativeInfo & { pageSizes: bigint }): ContainerInfo {
  const decoded: Decoded = { iovaRanges: undefined, dmaAvailable: undefined, dirtyTracking: undefined };
  const capabilities = parseChain(info).filter(({ id, data }) => {
    const known = decoders[id];
    if (!known || data.length < known.least) return true;
    Object.assign(decoded, known.decode(new DataView(data.buffer, data.byteOffset, data.byteLength)));
    return false;
  });
  const pageSizes = (info.flags & pageSizesFlag) === 0 ? [native.pageSize] : toSizes(info.pageSizes);
  return data({ pageSizes, ...decoded, flags: info.flags, capabilities });
}
