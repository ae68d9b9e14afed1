// The capability chains behind VFIO's info structs: a table of decoders, and the bytes as they are for the rest.
import type { NativeInfo } from '../native';

/** A capability of a region. What the library does not know keeps its bytes (without the header). */
export type RegionCapability =
  | { type: 'sparse-mmap'; areas: { offset: bigint; size: bigint }[] }
  | { type: 'type'; regionType: number; regionSubtype: number }
  | { type: 'msix-mappable' }
  | UnknownCapability;

/** A capability that the library does not decode. */
export interface UnknownCapability {
  type: 'unknown';
  id: number;
  version: number;
  data: Uint8Array;
}

const headerSize = 8;

/** Walks a chain. Offsets count from the start of the info struct; a chain that leads nowhere ends. @internal */
export function parseChain({ capOffset, bytes }: NativeInfo): UnknownCapability[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found: { start: number; id: number; version: number }[] = [];
  for (let at = capOffset; at >= headerSize && at + headerSize <= bytes.length; at = view.getUint32(at + 4, true)) {
    if (found.some((capability) => capability.start === at)) break;
    found.push({ start: at, id: view.getUint16(at, true), version: view.getUint16(at + 2, true) });
  }
  const ends = found.map(({ start }) => start).concat(bytes.length);
  return found.map(({ start, id, version }) => {
    const end = Math.min(...ends.filter((candidate) => candidate > start));
    return { type: 'unknown', id, version, data: bytes.slice(start + headerSize, end) };
  });
}

const decoders: Record<number, (view: DataView) => RegionCapability> = {
  1: (view) => {
    const count = Math.min(view.getUint32(0, true), Math.floor((view.byteLength - 8) / 16));
    const areas = Array.from({ length: count }, (_, i) => ({
      offset: view.getBigUint64(8 + 16 * i, true),
      size: view.getBigUint64(16 + 16 * i, true),
    }));
    return { type: 'sparse-mmap', areas };
  },
  2: (view) => ({ type: 'type', regionType: view.getUint32(0, true), regionSubtype: view.getUint32(4, true) }),
  3: () => ({ type: 'msix-mappable' }),
};

/** @internal */
export function regionCapabilities(info: NativeInfo): RegionCapability[] {
  return parseChain(info).map((capability) => {
    const { data, id } = capability;
    const decode = data.length >= 8 || id === 3 ? decoders[id] : undefined;
    return decode ? decode(new DataView(data.buffer, data.byteOffset, data.byteLength)) : capability;
  });
}
