// Virtual IOMMUs: a guest's share of a physical one, and what it knows of the guest's devices.
import type { Parents } from '../lifetime/parents';
import { codedError, kernelCall } from '../errors/errors';
import { native, type VdeviceHandle, type ViommuHandle } from '../addon/native';
import { bytes, instance, integer, oneOf, options, outOfRange, u64 } from '../errors/validate';
import { boundId, type IommufdDevice } from './bound';
import { Hwpt, nest, nestSync, type NestedHwptOptions } from './hwpt';
import type { HwptData } from './hwpt-data';
import { invalidate, type InvalidateData } from './invalidate';
import { HwQueue, type HwQueueOptions } from './hw-queue';
import { IommufdObject, owned } from './object';
import { VeventQueue, type VeventQueueOptions } from './vevent-queue';

/** What kind of virtual IOMMU it is, and what its driver wants to know. */
export type ViommuData =
  | { type: 'arm-smmuv3' | 'tegra241-cmdqv' }
  /** One that this library does not know: its number, and its struct, which the driver may answer in. */
  | { type: number; bytes?: Uint8Array | undefined };

// linux/iommufd.h: IOMMU_VIOMMU_TYPE_*, struct iommu_viommu_tegra241_cmdqv
const types = { 'arm-smmuv3': 1, 'tegra241-cmdqv': 2 } as const;
const answerLength = { 'arm-smmuv3': 0, 'tegra241-cmdqv': 16 } as const;
const longest = 4096;

function encode(data: ViommuData): { type: number; bytes: Uint8Array } {
  const given = options(data, 'data');
  const { type } = given;
  if (typeof type === 'string') {
    const name = oneOf(type, 'data.type', Object.keys(types) as (keyof typeof types)[]);
    return { type: types[name], bytes: new Uint8Array(answerLength[name]) };
  }
  const number = integer(type, 'data.type', 0, 0xffff_ffff);
  const raw = given.bytes === undefined ? new Uint8Array() : bytes(given.bytes, 'data.bytes');
  if (raw.byteLength > longest) throw outOfRange('data.bytes.byteLength', `<= ${String(longest)}`, raw.byteLength);
  return { type: number, bytes: Uint8Array.from(raw) };
}

/**
 * A virtual IOMMU: a guest's share of the physical one in front of its devices, on top of a nesting parent. The guest's
 * page tables are made here, and devices made known by the numbers that the guest has for them.
 */
export class Viommu extends IommufdObject {
  readonly iommufd: Parents['Iommufd'];
  /** The nesting parent: what the guest takes for physical memory. */
  readonly parent: Hwpt;
  /** What the driver answered, in the format of its type: where the registers of command queues are, for 'tegra241-cmdqv'. */
  readonly answer: Uint8Array;
  readonly #handle: ViommuHandle;

  private constructor(parent: Hwpt, handle: ViommuHandle, answer: Uint8Array) {
    super('vIOMMU', owned(native.viommu, handle), [parent]);
    this.#handle = handle;
    this.iommufd = parent.iommufd;
    this.parent = parent;
    this.answer = answer;
  }

  /** @internal */
  static alloc(iommufd: Parents['Iommufd'], device: IommufdDevice, parent: Hwpt, data: ViommuData): Viommu {
    const table = instance(parent, 'parent', Hwpt);
    if (table.iommufd !== iommufd) throw codedError('ERR_OTHER_IOMMUFD', 'the page table belongs to another iommufd');
    const id = boundId(device, iommufd);
    const { type, bytes: answer } = encode(data);
    const { handle } = table;
    const args = { device: id, parent: table.id, type };
    return new Viommu(
      table,
      kernelCall(args, () => native.viommuAllocate(handle, id, type, answer)),
      answer,
    );
  }

  /** @internal */
  get handle(): ViommuHandle {
    this.check();
    return this.#handle;
  }

  /**
   * Makes a guest's page table that is nested in the parent (IOMMU_HWPT_ALLOC). A device must have a {@link Vdevice} here
   * before it is attached to it.
   *
   * @throws KernelError EINVAL: the device is behind another IOMMU. EOPNOTSUPP: the IOMMU does not know this format.
   */
  allocNested(device: IommufdDevice, data: HwptData, opts?: NestedHwptOptions): Promise<Hwpt> {
    return nest(this, this.parent, device, data, opts);
  }

  /** {@link allocNested}, waiting. */
  allocNestedSync(device: IommufdDevice, data: HwptData, opts?: NestedHwptOptions): Hwpt {
    return nestSync(this, this.parent, device, data, opts);
  }

  /**
   * Makes the IOMMU forget what it cached for the guest (IOMMU_HWPT_INVALIDATE): the guest's own commands.
   *
   * @throws KernelError EINVAL: an entry, or its type, does not suit the IOMMU, or means no device that is known here;
   *   EOPNOTSUPP: a flag it does not know. `error.args.heeded` says how many entries were heeded before.
   */
  invalidate(data: InvalidateData): void {
    const { handle } = this;
    invalidate({ viommu: this.id }, data, (...call) => native.viommuInvalidate(handle, ...call));
  }

  /**
   * Makes a device known by the guest's number for it (IOMMU_VDEVICE_ALLOC).
   *
   * @param virtualId for Arm's SMMUv3 the stream ID
   * @throws KernelError EEXIST: the device is known already, or another one by this number. EINVAL: it is behind another
   *   IOMMU.
   */
  allocVdevice(device: IommufdDevice, virtualId: number | bigint): Vdevice {
    return Vdevice.alloc(this, device, virtualId);
  }

  /**
   * A new queue of commands in the guest's memory, which the IOMMU reads by itself (IOMMU_HW_QUEUE_ALLOC).
   *
   * @throws KernelError EOPNOTSUPP: no such queues. ENOENT: not all of its memory is mapped. EFAULT: its pages do not follow
   *   each other in physical memory. EEXIST: there is one by this index. EIO: the one before is not there. EINVAL: no such
   *   index. EOVERFLOW: iova plus length does not fit 64 bits.
   */
  allocHwQueue(opts: HwQueueOptions): HwQueue {
    return HwQueue.alloc(this, opts);
  }

  /**
   * A new queue of what the IOMMU has to tell the guest's (IOMMU_VEVENTQ_ALLOC), one of each type.
   *
   * @throws KernelError EEXIST: there is one of this type.
   */
  allocEventQueue(opts: VeventQueueOptions): VeventQueue {
    return VeventQueue.alloc(this, opts);
  }
}

/** A device as its guest's IOMMU knows it. Close it before the device: its number goes with that for good. */
export class Vdevice extends IommufdObject {
  readonly viommu: Viommu;
  /** The guest's number for the device. */
  readonly virtualId: bigint;

  private constructor(viommu: Viommu, handle: VdeviceHandle, virtualId: bigint) {
    super('virtual device', owned(native.vdevice, handle), [viommu]);
    this.viommu = viommu;
    this.virtualId = virtualId;
  }

  /** @internal */
  static alloc(viommu: Viommu, device: IommufdDevice, virtualId: number | bigint): Vdevice {
    const number = u64(virtualId, 'virtualId');
    const { handle } = viommu;
    const id = boundId(device, viommu.iommufd);
    const args = { viommu: viommu.id, device: id, virtualId: number };
    return new Vdevice(
      viommu,
      kernelCall(args, () => native.vdeviceAllocate(handle, id, number)),
      number,
    );
  }
}
