// Invalidation of an IOMMU's caches, encoded in the driver's format (linux/iommufd.h).
import { kernelCall } from '../errors/errors';
import { onlyKnown } from '../errors/unknown-option';
import {
  array,
  boolean,
  bytes,
  fields,
  integer,
  invalidType,
  oneOf,
  options,
  outOfRange,
  u64,
} from '../errors/validate';

/** A range of pages of a guest's page table, for Intel VT-d. */
export interface VtdInvalidation {
  /** The address of the first page. */
  address: number | bigint;
  /** The number of 4 KiB pages. 2^64 - 1, with address 0: all pages. */
  pages: number | bigint;
  /** Invalidates only cached entries of the lowest level. Default: false. */
  leaf?: boolean | undefined;
}

/** The cache entries to invalidate. */
export type InvalidateData =
  /** For a nested page table. */
  | { type: 'vtd-s1'; entries: readonly VtdInvalidation[] }
  /** For a virtual IOMMU: the guest's SMMUv3 commands, two 64-bit words each. */
  | { type: 'arm-smmuv3'; commands: readonly (readonly [number | bigint, number | bigint])[] }
  /** A type that this library does not know: its number and its entries, without gaps. */
  | { type: number; entryLength: number; bytes: Uint8Array };

// linux/iommufd.h: IOMMU_HWPT_INVALIDATE_DATA_VTD_S1, IOMMU_VTD_INV_FLAGS_LEAF, IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3
const types = { 'vtd-s1': 0, 'arm-smmuv3': 1 } as const;
const known = { 'vtd-s1': ['type', 'entries'], 'arm-smmuv3': ['type', 'commands'] } as const;
const ofNumber = ['type', 'entryLength', 'bytes'];
const leaf = 1n;
const longestEntry = 4096;
const mostEntries = 1 << 19;

/** The arguments of the native calls. @internal */
export type InvalidateCall = [type: number, entryLength: number, bytes: Uint8Array, heeded: Uint32Array];

interface Encoded {
  type: number;
  entryLength: number;
  bytes: Uint8Array;
}

const fromWords = (words: readonly bigint[]) => new Uint8Array(BigUint64Array.from(words).buffer);

function vtd(entry: VtdInvalidation, name: string): bigint[] {
  const { address, pages, leaf: only = false } = options(entry, ['address', 'pages', 'leaf'], name);
  const flags = boolean(only, `${name}.leaf`) ? leaf : 0n;
  return [u64(address, `${name}.address`), u64(pages, `${name}.pages`), flags];
}

function smmu(command: readonly (number | bigint)[], name: string): bigint[] {
  if (!Array.isArray(command) || command.length !== 2) throw invalidType(name, 'an array of 2 words', command);
  return command.map((word, i) => u64(word, `${name}[${String(i)}]`));
}

function encode(data: InvalidateData): Encoded {
  const given = fields(data, 'data');
  const { type } = given;
  if (typeof type === 'string') oneOf(type, 'data.type', Object.keys(types));
  onlyKnown(data, typeof type === 'string' ? known[type] : ofNumber, 'data');
  if (type === 'vtd-s1') {
    const entries = array(given.entries, 'data.entries');
    const words = entries.flatMap((entry, i) => vtd(entry, `data.entries[${String(i)}]`));
    return { type: types[type], entryLength: 24, bytes: fromWords(words) };
  }
  if (type === 'arm-smmuv3') {
    const commands = array(given.commands, 'data.commands');
    const words = commands.flatMap((command, i) => smmu(command, `data.commands[${String(i)}]`));
    return { type: types[type], entryLength: 16, bytes: fromWords(words) };
  }
  const number = integer(type, 'data.type', 0, 0xffff_ffff);
  const entryLength = integer(given.entryLength, 'data.entryLength', 1, longestEntry);
  const raw = bytes(given.bytes, 'data.bytes');
  if (raw.byteLength % entryLength !== 0) {
    throw outOfRange('data.bytes.byteLength', 'a multiple of data.entryLength', raw.byteLength);
  }
  return { type: number, entryLength, bytes: raw };
}

/** @internal */
export function invalidate(of: object, data: InvalidateData, call: (...call: InvalidateCall) => void): void {
  const encoded = encode(data);
  const entries = encoded.bytes.byteLength / encoded.entryLength;
  if (entries > mostEntries) throw outOfRange('data', `at most ${String(mostEntries)} entries`, entries);
  const heeded = new Uint32Array(1);
  const args = { ...of, dataType: encoded.type, entries, heeded: 0 };
  kernelCall(args, () => {
    try {
      call(encoded.type, encoded.entryLength, encoded.bytes, heeded);
    } finally {
      args.heeded = heeded[0] ?? 0;
    }
  });
}
