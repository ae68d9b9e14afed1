// Capability chains of VFIO's info structs. Known capabilities are decoded, others are returned as bytes.
import { data } from '../addon/shown';
import { endianness } from 'node:os';
import type { NativeInfo } from '../addon/native';

/** A capability that the library does not decode. */
export interface UnknownCapability {
  type: 'unknown';
  id: number;
  version: number;
  /** The bytes after the header. */
  data: Uint8Array;
}

/** A capability of a region. Capabilities that the library does not know are returned as bytes. */
export type RegionCapability =
  /** Only these areas can be mapped. Offsets and sizes in bytes, relative to the region's start. */
  | { type: 'sparse-mmap'; areas: { offset: bigint; size: bigint }[] }
  /** The type of a device-specific region. `vendor`: the ID of the PCI vendor that defines the subtype, if any. */
  | { type: 'type'; regionType: number; regionSubtype: number; vendor: number | undefined; name: string | undefined }
  /** The pages that contain the MSI-X table can be mapped, too. */
  | { type: 'msix-mappable' }
  /** NVLink 2: the bus address of the memory behind the link. */
  | { type: 'nvlink2-target'; address: bigint }
  | { type: 'nvlink2-link-speed'; linkSpeed: number }
  | UnknownCapability;

/** A capability of a device. Capabilities that the library does not know are returned as bytes. */
export type DeviceCapability =
  /**
   * The sizes in bits of the AtomicOps that the device can use as a completer, with support on the whole path to the
   * root.
   */
  | { type: 'pci-atomic-completion'; sizes: number[] }
  /** A PCI function of an s390 machine. Fields of a later version than `version` are undefined. */
  | {
      type: 'zpci-base';
      version: number;
      startDma: bigint;
      endDma: bigint;
      physicalChannel: number;
      virtualFunction: number;
      measurementBlockLength: number;
      functionType: number;
      group: number;
      functionHandle: number | undefined;
      errorLength: number | undefined;
    }
  | {
      type: 'zpci-group';
      version: number;
      dmaMask: bigint;
      msiAddress: bigint;
      refresh: boolean;
      measurementInterval: number;
      interrupts: number;
      maxStoreBlock: number;
      pciVersion: number;
      maxInterpretedStoreBlock: number | undefined;
    }
  | { type: 'zpci-utility-string'; bytes: Uint8Array }
  | { type: 'zpci-internal-path'; bytes: Uint8Array }
  | UnknownCapability;

const headerSize = 8;
/** The kernel writes in host byte order. Only s390 has zpci capabilities, and s390 is big-endian. */
const little = endianness() === 'LE';

/**
 * Parses a capability chain. Offsets are relative to the start of the info struct. Parsing stops if the chain loops or
 * leaves the struct.
 * @internal
 */
export function parseChain({ capOffset, bytes }: NativeInfo): UnknownCapability[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = new Map<number, { id: number; version: number }>();
  for (let at = capOffset; at >= headerSize && at + headerSize <= bytes.length; at = view.getUint32(at + 4, little)) {
    if (found.has(at)) break;
    found.set(at, { id: view.getUint16(at, little), version: view.getUint16(at + 2, little) });
  }
  const starts = [...found.keys(), bytes.length].sort((a, b) => a - b);
  return [...found].map(([start, { id, version }]) => {
    const end = starts[starts.indexOf(start) + 1] ?? bytes.length;
    return { type: 'unknown', id, version, data: bytes.slice(start + headerSize, end) };
  });
}

/** The minimum number of bytes after the header, and the decoder. */
type Decoder<T> = readonly [least: number, decode: (view: DataView, data: Uint8Array, version: number) => T];

function decodeChain<T extends object>(
  info: NativeInfo,
  decoders: Readonly<Record<number, Decoder<T>>>,
): (T | UnknownCapability)[] {
  return parseChain(info).map((capability) => {
    const { data: bytes, id, version } = capability;
    const [least, decode] = decoders[id] ?? [];
    if (!decode || bytes.length < (least ?? 0)) return capability;
    return data(decode(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), bytes, version));
  });
}

const vendorType = 0x8000_0000;
const vendorMask = 0xffff;
/** linux/vfio.h. The key is the type (for vendor-specific types, the PCI vendor ID in hexadecimal) and the subtype. */
const typeNames: Readonly<Record<string, string>> = {
  '8086:1': 'igd-opregion',
  '8086:2': 'igd-host-config',
  '8086:3': 'igd-lpc-config',
  '10de:1': 'nvlink2-ram',
  '1014:1': 'nvlink2-atsd',
  '1:1': 'gfx-edid',
  '2:1': 'ccw-async-command',
  '2:2': 'ccw-schib',
  '2:3': 'ccw-crw',
  '3:1': 'migration-v1',
};

const regionDecoders: Readonly<Record<number, Decoder<RegionCapability>>> = {
  1: [
    8,
    (view) => {
      const count = Math.min(view.getUint32(0, little), Math.floor((view.byteLength - 8) / 16));
      const areas = Array.from({ length: count }, (_, i) => ({
        offset: view.getBigUint64(8 + 16 * i, little),
        size: view.getBigUint64(16 + 16 * i, little),
      }));
      return { type: 'sparse-mmap', areas };
    },
  ],
  2: [
    8,
    (view) => {
      const [regionType, regionSubtype] = [view.getUint32(0, little), view.getUint32(4, little)];
      const vendor = regionType >= vendorType ? regionType & vendorMask : undefined;
      const name =
        typeNames[`${(vendor ?? regionType).toString(vendor === undefined ? 10 : 16)}:${String(regionSubtype)}`];
      return { type: 'type', regionType, regionSubtype, vendor, name };
    },
  ],
  3: [0, () => ({ type: 'msix-mappable' })],
  4: [8, (view) => ({ type: 'nvlink2-target', address: view.getBigUint64(0, little) })],
  5: [4, (view) => ({ type: 'nvlink2-link-speed', linkSpeed: view.getUint32(0, little) })],
};

function sized(view: DataView, data: Uint8Array): Uint8Array {
  return data.slice(4, 4 + view.getUint32(0, little));
}

// linux/vfio_zdev.h
const deviceDecoders: Readonly<Record<number, Decoder<DeviceCapability>>> = {
  1: [
    24,
    (view, data, version) => ({
      type: 'zpci-base',
      version,
      startDma: view.getBigUint64(0, little),
      endDma: view.getBigUint64(8, little),
      physicalChannel: view.getUint16(16, little),
      virtualFunction: view.getUint16(18, little),
      measurementBlockLength: view.getUint16(20, little),
      functionType: view.getUint8(22),
      group: view.getUint8(23),
      functionHandle: version >= 2 && data.length >= 28 ? view.getUint32(24, little) : undefined,
      errorLength: version >= 3 && data.length >= 32 ? view.getUint32(28, little) : undefined,
    }),
  ],
  2: [
    31,
    (view, data, version) => ({
      type: 'zpci-group',
      version,
      dmaMask: view.getBigUint64(0, little),
      msiAddress: view.getBigUint64(8, little),
      refresh: (view.getBigUint64(16, little) & 1n) !== 0n,
      measurementInterval: view.getUint16(24, little),
      interrupts: view.getUint16(26, little),
      maxStoreBlock: view.getUint16(28, little),
      pciVersion: view.getUint8(30),
      maxInterpretedStoreBlock: version >= 2 && data.length >= 34 ? view.getUint16(32, little) : undefined,
    }),
  ],
  3: [4, (view, data) => ({ type: 'zpci-utility-string', bytes: sized(view, data) })],
  4: [4, (view, data) => ({ type: 'zpci-internal-path', bytes: sized(view, data) })],
  5: [
    4,
    (view) => ({
      type: 'pci-atomic-completion',
      sizes: [32, 64, 128].filter((_, bit) => ((view.getUint32(0, little) >> bit) & 1) !== 0),
    }),
  ],
};

/** @internal */
export function regionCapabilities(info: NativeInfo): RegionCapability[] {
  return decodeChain(info, regionDecoders);
}

/** @internal */
export function deviceCapabilities(info: NativeInfo): DeviceCapability[] {
  return decodeChain(info, deviceDecoders);
}
