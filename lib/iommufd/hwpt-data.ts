// Driver-specific data for the allocation of a page table, encoded in the driver's format (linux/iommufd.h).
import { onlyKnown } from '../errors/unknown-option';
import { boolean, bytes, fields, integer, invalidType, oneOf, outOfRange, u64 } from '../errors/validate';

/** A guest's first-stage page table for Intel VT-d. */
export interface VtdStage1 {
  type: 'vtd-s1';
  /** The address of the guest's page table: an IOVA of the parent. */
  pageTable: number | bigint;
  /** The width of the addresses that it translates, in bits. */
  addressWidth: number;
  /** Allows supervisor requests (SRE). Default: false. */
  supervisor?: boolean | undefined;
  /** Enables the extended accessed flag (EAFE). Default: false. */
  extendedAccessed?: boolean | undefined;
  /** Enforces write protection for supervisor writes (WPE). Default: false. */
  writeProtect?: boolean | undefined;
}

/** Driver-specific data for the allocation of a page table. */
export type HwptData =
  | VtdStage1
  /** The first two 64-bit words of the guest's stream table entry, for Arm SMMUv3. */
  | { type: 'arm-smmuv3'; ste: readonly [number | bigint, number | bigint] }
  /** The guest's device table entry, for the AMD IOMMU. */
  | {
      type: 'amd-guest';
      dte: readonly [number | bigint, number | bigint, number | bigint, number | bigint];
    }
  /** A type that this library does not know: its number and its struct. */
  | { type: number; bytes: Uint8Array };

/** @internal */
export interface EncodedData {
  type: number;
  bytes: Uint8Array;
}

// linux/iommufd.h: IOMMU_HWPT_DATA_*, IOMMU_VTD_S1_*
const types = { 'vtd-s1': 1, 'arm-smmuv3': 2, 'amd-guest': 3 } as const;
const vtdFlags = { supervisor: 1n, extendedAccessed: 2n, writeProtect: 4n } as const;
const known = {
  'vtd-s1': ['type', 'pageTable', 'addressWidth', ...Object.keys(vtdFlags)],
  'arm-smmuv3': ['type', 'ste'],
  'amd-guest': ['type', 'dte'],
} as const;
const longest = 4096;

function words(value: readonly unknown[], name: string, count: number): Uint8Array {
  if (!Array.isArray(value) || value.length !== count) {
    throw invalidType(name, `an array of ${String(count)} words`, value);
  }
  return new Uint8Array(BigUint64Array.from(value, (word, i) => u64(word, `${name}[${String(i)}]`)).buffer);
}

function vtd(data: VtdStage1): EncodedData {
  let flags = 0n;
  for (const name of Object.keys(vtdFlags) as (keyof typeof vtdFlags)[]) {
    if (boolean(data[name] ?? false, `data.${name}`)) flags |= vtdFlags[name];
  }
  const words = [
    flags,
    u64(data.pageTable, 'data.pageTable'),
    BigInt(integer(data.addressWidth, 'data.addressWidth', 0, 64)),
  ];
  return { type: types['vtd-s1'], bytes: new Uint8Array(BigUint64Array.from(words).buffer) };
}

/** @internal */
export function encodeHwptData(data: HwptData | undefined): EncodedData {
  if (data === undefined) return { type: 0, bytes: new Uint8Array() };
  fields(data, 'data');
  const { type } = data;
  if (typeof type === 'string') oneOf(type, 'data.type', Object.keys(types));
  onlyKnown(data, typeof type === 'string' ? known[type] : ['type', 'bytes'], 'data');
  if (type === 'vtd-s1') return vtd(data);
  if (type === 'arm-smmuv3') return { type: types[type], bytes: words(data.ste, 'data.ste', 2) };
  if (type === 'amd-guest') return { type: types[type], bytes: words(data.dte, 'data.dte', 4) };
  const number = integer(type, 'data.type', 0, 0xffff_ffff);
  const raw = bytes(data.bytes, 'data.bytes');
  if (raw.byteLength > longest) throw outOfRange('data.bytes.byteLength', `<= ${String(longest)}`, raw.byteLength);
  return { type: number, bytes: raw };
}
