// What an IOMMU says of itself, in its driver's own format (linux/iommufd.h).

/** What an IOMMU is: registers are as its own manual describes them. */
export type IommuInfo =
  /** Its driver has nothing to tell. */
  | { type: 'none' }
  /** Intel's VT-d: its capability registers. `erratum772415`: no read-only mapping in what others are nested in. */
  | { type: 'intel-vtd'; flags: number; erratum772415: boolean; capability: bigint; extendedCapability: bigint }
  /** Arm's SMMUv3. `repeatInvalidation`: a guest must issue TLB and configuration invalidations twice. */
  | {
      type: 'arm-smmuv3';
      flags: number;
      repeatInvalidation: boolean;
      /** IDR0 to IDR5. */
      idr: number[];
      iidr: number;
      aidr: number;
    }
  /** NVIDIA's extension of it: virtual command queues, and stream ids, per virtual machine. */
  | { type: 'tegra241-cmdqv'; flags: number; version: number; log2Queues: number; log2StreamIds: number }
  /** AMD's IOMMU: its extended feature registers. */
  | { type: 'amd'; efr: bigint; efr2: bigint }
  /** A format that this library does not know. */
  | { type: 'unknown'; number: number; bytes: Uint8Array };

/** What a device's IOMMU is, and what it and the kernel can do for the device. */
export interface HwInfo {
  iommu: IommuInfo;
  /** Page tables can tell which pages the device wrote to. */
  dirtyTracking: boolean;
  /** PASIDs have so many bits; 0: the device has none, or they are off. */
  pasidBits: number;
  /** The device can ask for execution rights, or for privileged access, with a PASID. */
  pasidExecute: boolean;
  pasidPrivileged: boolean;
  /** Whether the device may have translations of its own (ATS). */
  ats: boolean;
  /** All capability bits, as the kernel gave them. */
  capabilities: bigint;
}

/** The formats by name, and their numbers (IOMMU_HW_INFO_TYPE_*). */
const numbers = { 'intel-vtd': 1, 'arm-smmuv3': 2, 'tegra241-cmdqv': 3, amd: 4 } as const;
/** A format that {@link Iommufd.hwInfo} can be asked for. */
export type HwInfoType = keyof typeof numbers;
/** @internal */
export const hwInfoTypes: Readonly<Record<HwInfoType, number>> = numbers;

const capability = { dirtyTracking: 1n, pasidExecute: 2n, pasidPrivileged: 4n, noAts: 8n } as const;

type Decode = (data: DataView) => IommuInfo;

/** By number. Each says how many bytes it needs; a newer kernel's struct may be longer. */
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
  return {
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
  };
}
