// Finds, names and decodes the capabilities in a PCI function's config space. It reads through a callback, so it works
// with a VFIO device's config region and with sysfs's `config` file.
import { data } from '../addon/shown';
import { bytes as toBytes } from '../errors/validate';

/**
 * Reads `length` bytes of config space at `offset`. Returns fewer bytes at the end of the config space, or if the
 * caller has no permission (sysfs returns 64 bytes to users other than root).
 */
export type ConfigReader = (offset: number, length: number) => Uint8Array;

/** The location of an MSI-X structure in a BAR. */
export interface BarPart {
  bar: number;
  /** In bytes. */
  offset: number;
  /** In bytes. */
  size: number;
}

/** Whether a control is supported, and whether it is enabled. */
export interface Control {
  supported: boolean;
  enabled: boolean;
}

/** The device/port type of a PCI Express function. */
export type ExpressPort =
  | 'endpoint'
  | 'legacy-endpoint'
  | 'root-port'
  | 'upstream-port'
  | 'downstream-port'
  | 'pcie-to-pci-bridge'
  | 'pci-to-pcie-bridge'
  | 'root-complex-endpoint'
  | 'root-complex-event-collector'
  | 'unknown';

/** The decoded fields of a capability, by type. */
export type PciCapabilityFields =
  | { type: 'power-management'; revision: number; d1: boolean; d2: boolean; noSoftReset: boolean; state: number }
  | { type: 'msi'; enabled: boolean; vectors: number; enabledVectors: number; address64: boolean; maskable: boolean }
  | { type: 'msi-x'; enabled: boolean; masked: boolean; vectors: number; table: BarPart; pendingBits: BarPart }
  | {
      type: 'express';
      revision: number;
      port: ExpressPort;
      functionLevelReset: boolean;
      /** In bytes. */
      maxPayloadSupported: number;
      maxPayload: number;
      maxReadRequest: number;
      /** In GT/s; 0 if there is no link. */
      maxLinkSpeed: number;
      linkSpeed: number;
      maxLinkWidth: number;
      linkWidth: number;
      /**
       * AtomicOps: the sizes in bits that the function completes, whether a port routes them, and whether sending them
       * is enabled.
       */
      atomicCompleter: number[];
      atomicRouting: boolean;
      atomicRequester: boolean;
    }
  | {
      type: 'acs';
      sourceValidation: Control;
      translationBlocking: Control;
      requestRedirect: Control;
      completionRedirect: Control;
      upstreamForwarding: Control;
      egressControl: Control;
      directTranslated: Control;
    }
  | {
      type: 'aer';
      uncorrectableStatus: number;
      uncorrectableMask: number;
      uncorrectableSeverity: number;
      correctableStatus: number;
      correctableMask: number;
    }
  | {
      type: 'sr-iov';
      enabled: boolean;
      memory: boolean;
      initialVfs: number;
      totalVfs: number;
      numVfs: number;
      /**
       * The routing ID offset from the physical function to the first virtual function, and the stride between virtual
       * functions.
       */
      firstOffset: number;
      stride: number;
      vfDevice: number;
    }
  | { type: 'ats'; enabled: boolean; invalidateQueueDepth: number; pageAligned: boolean; smallestUnit: number }
  | { type: 'pasid'; enabled: boolean; execute: Control; privileged: Control; width: number }
  | { type: 'pri'; enabled: boolean; stopped: boolean; capacity: number; allocated: number }
  | { type: 'resizable-bar'; bars: { bar: number; sizes: bigint[]; size: bigint }[] }
  | { type: 'dvsec'; vendor: number; revision: number; dvsecId: number }
  | { type: 'other' };

/** A capability of a PCI function. */
export type PciCapability = {
  id: number;
  /** The short name from the PCI specifications; undefined if this library does not know the capability. */
  name: string | undefined;
  /** Whether it is in PCI Express's extended config space, from 100h on. */
  extended: boolean;
  /** The version of an extended capability, otherwise 0. */
  version: number;
  /** The offset in config space. */
  offset: number;
  /** All bytes including the header, up to the length that the capability specifies, or up to the next capability. */
  bytes: Uint8Array;
} & PciCapabilityFields;

// PCI Code and ID Assignment Specification 1.16.
const names: Readonly<Record<number, string>> = {
  0x01: 'power-management',
  0x02: 'agp',
  0x03: 'vpd',
  0x04: 'slot-id',
  0x05: 'msi',
  0x06: 'compact-pci-hot-swap',
  0x07: 'pci-x',
  0x08: 'hypertransport',
  0x09: 'vendor',
  0x0a: 'debug-port',
  0x0b: 'compact-pci-resource-control',
  0x0c: 'hot-plug',
  0x0d: 'bridge-subsystem',
  0x0e: 'agp-8x',
  0x0f: 'secure-device',
  0x10: 'express',
  0x11: 'msi-x',
  0x12: 'sata',
  0x13: 'advanced-features',
  0x14: 'enhanced-allocation',
  0x15: 'flattening-portal-bridge',
};
const extendedNames: Readonly<Record<number, string>> = {
  0x01: 'aer',
  0x02: 'virtual-channel',
  0x03: 'serial-number',
  0x04: 'power-budgeting',
  0x05: 'root-complex-link-declaration',
  0x06: 'root-complex-link-control',
  0x07: 'root-complex-event-collector',
  0x08: 'multi-function-virtual-channel',
  0x09: 'virtual-channel-9',
  0x0a: 'root-complex-register-block',
  0x0b: 'vendor',
  0x0c: 'configuration-access-correlation',
  0x0d: 'acs',
  0x0e: 'ari',
  0x0f: 'ats',
  0x10: 'sr-iov',
  0x11: 'mr-iov',
  0x12: 'multicast',
  0x13: 'pri',
  0x15: 'resizable-bar',
  0x16: 'dynamic-power-allocation',
  0x17: 'tph-requester',
  0x18: 'ltr',
  0x19: 'secondary-express',
  0x1a: 'pmux',
  0x1b: 'pasid',
  0x1c: 'ln-requester',
  0x1d: 'downstream-port-containment',
  0x1e: 'l1-substates',
  0x1f: 'precision-time-measurement',
  0x20: 'm-pcie',
  0x21: 'frs-queueing',
  0x22: 'readiness-time',
  0x23: 'dvsec',
  0x24: 'vf-resizable-bar',
  0x25: 'data-link-feature',
  0x26: 'physical-layer-16gt',
  0x27: 'lane-margining',
  0x28: 'hierarchy-id',
  0x29: 'npem',
  0x2a: 'physical-layer-32gt',
  0x2b: 'alternate-protocol',
  0x2c: 'system-firmware-intermediary',
  0x2d: 'shadow-functions',
  0x2e: 'data-object-exchange',
  0x2f: 'device-3',
  0x30: 'ide',
  0x31: 'physical-layer-64gt',
};

const ports: Readonly<Record<number, ExpressPort>> = {
  0: 'endpoint',
  1: 'legacy-endpoint',
  4: 'root-port',
  5: 'upstream-port',
  6: 'downstream-port',
  7: 'pcie-to-pci-bridge',
  8: 'pci-to-pcie-bridge',
  9: 'root-complex-endpoint',
  10: 'root-complex-event-collector',
};
const linkSpeeds: Readonly<Record<number, number>> = { 1: 2.5, 2: 5, 3: 8, 4: 16, 5: 32, 6: 64 };

/** The registers of one capability. Bytes after its end read as 0. */
class Registers {
  readonly #view: DataView;
  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }
  byte(at: number): number {
    return at < this.#view.byteLength ? this.#view.getUint8(at) : 0;
  }
  word(at: number): number {
    return this.byte(at) | (this.byte(at + 1) << 8);
  }
  dword(at: number): number {
    return (this.word(at) | (this.word(at + 2) << 16)) >>> 0;
  }
  bit(at: number, bit: number): boolean {
    return ((this.byte(at + (bit >> 3)) >> (bit & 7)) & 1) !== 0;
  }
}

type Decoder = readonly [size: (r: Registers) => number, decode: (r: Registers) => PciCapabilityFields];

function barPart(register: number, size: number): BarPart {
  return { bar: register & 7, offset: (register & ~7) >>> 0, size };
}

// Offsets and bits: PCI 3.0, chapter 6.8; PCI power management 1.2, chapter 3.2; PCI Express base 6.0, chapters 7.5 to 7.9,
// 9.3 and 10.5.
const decoders: Readonly<Record<number, Decoder>> = {
  0x01: [
    () => 8,
    (r) => ({
      type: 'power-management',
      revision: r.word(2) & 7,
      d1: r.bit(2, 9),
      d2: r.bit(2, 10),
      noSoftReset: r.bit(4, 3),
      state: r.byte(4) & 3,
    }),
  ],
  0x05: [
    (r) => 10 + (r.bit(2, 7) ? 4 : 0) + (r.bit(2, 8) ? 10 : 0),
    (r) => ({
      type: 'msi',
      enabled: r.bit(2, 0),
      vectors: 1 << ((r.word(2) >> 1) & 7),
      enabledVectors: 1 << ((r.word(2) >> 4) & 7),
      address64: r.bit(2, 7),
      maskable: r.bit(2, 8),
    }),
  ],
  0x10: [
    (r) => ((r.word(2) & 15) >= 2 ? 0x3c : 0x24),
    (r) => ({
      type: 'express',
      revision: r.word(2) & 15,
      port: ports[(r.word(2) >> 4) & 15] ?? 'unknown',
      functionLevelReset: r.bit(4, 28),
      maxPayloadSupported: 128 << (r.dword(4) & 7),
      maxPayload: 128 << ((r.word(8) >> 5) & 7),
      maxReadRequest: 128 << ((r.word(8) >> 12) & 7),
      maxLinkSpeed: linkSpeeds[r.dword(12) & 15] ?? 0,
      linkSpeed: linkSpeeds[r.word(18) & 15] ?? 0,
      maxLinkWidth: (r.dword(12) >> 4) & 63,
      linkWidth: (r.word(18) >> 4) & 63,
      atomicCompleter: [32, 64, 128].filter((_, i) => r.bit(36, 7 + i)),
      atomicRouting: r.bit(36, 6),
      atomicRequester: r.bit(40, 6),
    }),
  ],
  0x11: [
    () => 12,
    (r) => {
      const vectors = (r.word(2) & 0x7ff) + 1;
      return {
        type: 'msi-x',
        enabled: r.bit(2, 15),
        masked: r.bit(2, 14),
        vectors,
        table: barPart(r.dword(4), 16 * vectors),
        pendingBits: barPart(r.dword(8), 8 * Math.ceil(vectors / 64)),
      };
    },
  ],
};

function control(r: Registers, bit: number): Control {
  return { supported: r.bit(4, bit), enabled: r.bit(6, bit) };
}

const extendedDecoders: Readonly<Record<number, Decoder>> = {
  0x01: [
    () => 0x48,
    (r) => ({
      type: 'aer',
      uncorrectableStatus: r.dword(4),
      uncorrectableMask: r.dword(8),
      uncorrectableSeverity: r.dword(12),
      correctableStatus: r.dword(16),
      correctableMask: r.dword(20),
    }),
  ],
  0x0d: [
    // The egress control vector exists only with egress control. A size of 0 means 256.
    (r) => 8 + (r.bit(4, 5) ? 4 * Math.ceil((r.byte(5) || 256) / 32) : 0),
    (r) => ({
      type: 'acs',
      sourceValidation: control(r, 0),
      translationBlocking: control(r, 1),
      requestRedirect: control(r, 2),
      completionRedirect: control(r, 3),
      upstreamForwarding: control(r, 4),
      egressControl: control(r, 5),
      directTranslated: control(r, 6),
    }),
  ],
  0x0f: [
    () => 8,
    (r) => ({
      type: 'ats',
      enabled: r.bit(6, 15),
      invalidateQueueDepth: r.word(4) & 31 || 32,
      pageAligned: r.bit(4, 5),
      smallestUnit: 4096 * 2 ** (r.word(6) & 31),
    }),
  ],
  0x10: [
    () => 0x40,
    (r) => ({
      type: 'sr-iov',
      enabled: r.bit(8, 0),
      memory: r.bit(8, 3),
      initialVfs: r.word(12),
      totalVfs: r.word(14),
      numVfs: r.word(16),
      firstOffset: r.word(20),
      stride: r.word(22),
      vfDevice: r.word(26),
    }),
  ],
  0x13: [
    () => 16,
    (r) => ({
      type: 'pri',
      enabled: r.bit(4, 0),
      stopped: r.bit(6, 8),
      capacity: r.dword(8),
      allocated: r.dword(12),
    }),
  ],
  0x15: [
    (r) => 4 + 8 * ((r.dword(8) >> 5) & 7),
    (r) => ({
      type: 'resizable-bar',
      bars: Array.from({ length: (r.dword(8) >> 5) & 7 }, (_, i) => {
        const [can, is] = [r.dword(4 + 8 * i), r.dword(8 + 8 * i)];
        // The supported sizes are bits 4 to 31 of the first register and 16 to 31 of the second: 1 MiB, 2 MiB, …
        const all = (BigInt(is >>> 16) << 28n) | BigInt(can >>> 4);
        const sizes = Array.from({ length: 44 }, (_, bit) => bit).filter((bit) => (all >> BigInt(bit)) & 1n);
        return {
          bar: is & 7,
          sizes: sizes.map((bit) => 1n << BigInt(bit + 20)),
          size: 1n << BigInt(((is >> 8) & 63) + 20),
        };
      }),
    }),
  ],
  0x1b: [
    () => 8,
    (r) => ({
      type: 'pasid',
      enabled: r.bit(6, 0),
      execute: control(r, 1),
      privileged: control(r, 2),
      width: r.byte(5) & 31,
    }),
  ],
  0x23: [
    (r) => r.dword(4) >>> 20,
    (r) => ({ type: 'dvsec', vendor: r.word(4), revision: r.byte(6) & 15, dvsecId: r.word(8) }),
  ],
};

/** The sizes of capabilities that contain their length but are not decoded. */
const sizes: Readonly<Record<number, (r: Registers) => number>> = { 0x09: (r) => r.byte(2) };
const extendedSizes: Readonly<Record<number, (r: Registers) => number>> = {
  0x03: () => 12,
  0x0b: (r) => r.dword(4) >>> 20,
  0x0e: () => 8,
  0x18: () => 8,
};

interface Found {
  id: number;
  version: number;
  offset: number;
}

const conventionalEnd = 0x100;
const extendedEnd = 0x1000;
const headerEnd = 0x40;

function* conventional(read: ConfigReader): Generator<Found> {
  const header = new Registers(read(0, headerEnd));
  const listed = header.bit(0x06, 4);
  const cardBus = (header.byte(0x0e) & 0x7f) === 2;
  const seen = new Set<number>();
  let offset = listed ? header.byte(cardBus ? 0x14 : 0x34) & ~3 : 0;
  while (offset >= headerEnd && !seen.has(offset)) {
    seen.add(offset);
    const bytes = read(offset, 2);
    const [id, next] = bytes;
    if (id === undefined || next === undefined || id === 0xff) return; // not readable, or the device does not respond
    yield { id, version: 0, offset };
    offset = next & ~3;
  }
}

function* extended(read: ConfigReader): Generator<Found> {
  const seen = new Set<number>();
  for (let offset = conventionalEnd; offset >= conventionalEnd && !seen.has(offset);) {
    seen.add(offset);
    const bytes = read(offset, 4);
    const header = new Registers(bytes).dword(0);
    if (bytes.length < 4 || header === 0 || header === 0xffff_ffff) return;
    // ID 0 is a placeholder, for example for a capability that vfio-pci hides.
    if ((header & 0xffff) !== 0) yield { id: header & 0xffff, version: (header >> 16) & 15, offset };
    offset = (header >>> 20) & ~3;
  }
}

function* describe(read: ConfigReader, found: readonly Found[], isExtended: boolean): Generator<PciCapability> {
  const end = isExtended ? extendedEnd : conventionalEnd;
  for (const { id, version, offset } of found) {
    const limit = Math.min(end, ...found.map((other) => other.offset).filter((other) => other > offset)) - offset;
    const all = read(offset, limit);
    const registers = new Registers(all);
    const [sizeOf, decode] = (isExtended ? extendedDecoders : decoders)[id] ?? [];
    const size = (sizeOf ?? (isExtended ? extendedSizes : sizes)[id])?.(registers) ?? limit;
    const bytes = all.slice(0, Math.max(size, isExtended ? 4 : 2));
    const fields = decode?.(new Registers(bytes)) ?? { type: 'other' as const };
    const name = (isExtended ? extendedNames : names)[id];
    yield { id, name, extended: isExtended, version, offset, bytes, ...fields };
  }
}

/**
 * Returns the capabilities of a PCI function in the order of its lists: first the conventional ones, then PCI Express's
 * extended ones. A list with a loop, or with an offset outside config space, ends there.
 *
 * @param config the bytes of config space from offset 0 (for example sysfs's `config` file), or a function that reads
 *   them
 */
export function pciCapabilities(config: Uint8Array | ConfigReader): PciCapability[] {
  const whole = typeof config === 'function' ? undefined : toBytes(config, 'config').slice();
  const read: ConfigReader = (offset, length) =>
    typeof config === 'function'
      ? toBytes(config(offset, length), 'config()').slice(0, length)
      : (whole ?? new Uint8Array()).subarray(offset, offset + length);
  return [...describe(read, [...conventional(read)], false), ...describe(read, [...extended(read)], true)].map(data);
}
