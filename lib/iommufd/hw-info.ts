// Properties of an IOMMU, as its driver reports them (IOMMU_GET_HW_INFO, linux/iommufd.h).
import { data } from '../addon/shown';

/** The type of an IOMMU and its registers, as its specification describes them. */
export type IommuInfo =
  /** The driver reports no information. */
  | { type: 'none' }
  /** Intel VT-d: the capability registers. `erratum772415`: a nesting parent must not contain read-only mappings. */
  | { type: 'intel-vtd'; flags: number; erratum772415: boolean; capability: bigint; extendedCapability: bigint }
  /** Arm SMMUv3. `repeatInvalidation`: a guest must issue TLB and configuration invalidations twice. */
  | {
      type: 'arm-smmuv3';
      flags: number;
      repeatInvalidation: boolean;
      /** The registers IDR0 to IDR5. */
      idr: number[];
      iidr: number;
      aidr: number;
    }
  /** NVIDIA Tegra241 CMDQ-V, an extension of SMMUv3: virtual command queues and stream IDs per virtual machine. */
  | { type: 'tegra241-cmdqv'; flags: number; version: number; log2Queues: number; log2StreamIds: number }
  /** AMD IOMMU: the extended feature registers. */
  | { type: 'amd'; efr: bigint; efr2: bigint }
  /** A type that this library does not know. */
  | { type: 'unknown'; number: number; bytes: Uint8Array };

/** A device's IOMMU, and what the IOMMU and the kernel support for the device. */
export interface HwInfo {
  iommu: IommuInfo;
  /** Page tables can track which pages the device wrote to. */
  dirtyTracking: boolean;
  /** The width of PASIDs in bits. 0: the device has no PASIDs, or they are disabled. */
  pasidBits: number;
  /** A request with a PASID can ask for permission to execute, or for privileged access. */
  pasidExecute: boolean;
  pasidPrivileged: boolean;
  /** Whether the device may use PCIe ATS (Address Translation Services). */
  ats: boolean;
  /** All capability bits, as the kernel reported them. */
  capabilities: bigint;
}

/** The types by name (IOMMU_HW_INFO_TYPE_*). */
const numbers = { 'intel-vtd': 1, 'arm-smmuv3': 2, 'tegra241-cmdqv': 3, amd: 4 } as const;
/** A type that {@link Iommufd.hwInfo} accepts. */
export type HwInfoType = keyof typeof numbers;
/** @internal */
export const hwInfoTypes: Readonly<Record<HwInfoType, number>> = numbers;

const capability = { dirtyTracking: 1n, pasidExecute: 2n, pasidPrivileged: 4n, noAts: 8n } as const;

type Decode = (data: DataView) => IommuInfo;

/** By type number. `size` is the minimum number of bytes. A newer kernel's struct may be longer. */
const decoders: Readonly<Record<number, readonly [size: number, decode: Decode]>> = {
  0: [0, () => ({ type: 'none' })],
  [numbers['intel-vtd']]: [
    24,
    (data) => ({
      type: 'intel-vtd',
      flags: data.getUint32(0, true),
      erratum772415: (data.getUint32(0, true) & 1) !== 0,
      capability: data.getBigUint64(8, true),
      extendedCapability: data.getBigUint64(16, true),
    }),
  ],
  [numbers['arm-smmuv3']]: [
    40,
    (data) => ({
      type: 'arm-smmuv3',
      flags: data.getUint32(0, true),
      repeatInvalidation: (data.getUint32(0, true) & 1) !== 0,
      idr: Array.from({ length: 6 }, (_, i) => data.getUint32(8 + 4 * i, true)),
      iidr: data.getUint32(32, true),
      aidr: data.getUint32(36, true),
    }),
  ],
  [numbers['tegra241-cmdqv']]: [
    8,
    (data) => ({
      type: 'tegra241-cmdqv',
      flags: data.getUint32(0, true),
      version: data.getUint8(4),
      log2Queues: data.getUint8(5),
      log2StreamIds: data.getUint8(6),
    }),
  ],
  [numbers.amd]: [16, (data) => ({ type: 'amd', efr: data.getBigUint64(0, true), efr2: data.getBigUint64(8, true) })],
};

/** @internal */
export interface NativeHwInfo {
  type: number;
  bytes: Uint8Array;
  capabilities: bigint;
  maxPasidLog2: number;
}

/** @internal */
export function toHwInfo({ type, bytes, capabilities, maxPasidLog2 }: NativeHwInfo): HwInfo {
  const [size, decode] = decoders[type] ?? [Infinity];
  const has = (bit: bigint) => (capabilities & bit) !== 0n;
  return data({
    iommu:
      decode && bytes.length >= size
        ? decode(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength))
        : { type: 'unknown', number: type, bytes },
    dirtyTracking: has(capability.dirtyTracking),
    pasidBits: maxPasidLog2,
    pasidExecute: has(capability.pasidExecute),
    pasidPrivileged: has(capability.pasidPrivileged),
    ats: !has(capability.noAts),
    capabilities,
  });
}
