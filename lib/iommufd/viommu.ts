// Virtual IOMMUs: a guest's share of a physical IOMMU, and the guest's IDs of its devices.
import { shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import type { Parents } from '../lifetime/parents';
import { codedError, kernelCall } from '../errors/errors';
import { native, type VdeviceHandle, type ViommuHandle } from '../addon/native';
import { onlyKnown } from '../errors/unknown-option';
import { bytes, fields, instance, integer, oneOf, outOfRange, u64 } from '../errors/validate';
import { boundId, type IommufdDevice } from './bound';
import { Hwpt, nest, nestSync, type NestedHwptOptions } from './hwpt';
import type { HwptData } from './hwpt-data';
import { invalidate, type InvalidateData } from './invalidate';
import { HwQueue, type HwQueueOptions } from './hw-queue';
import { IommufdObject, owned } from './object';
import { VeventQueue, type VeventQueueOptions } from './vevent-queue';

/** The type of a virtual IOMMU, and driver-specific data. */
export type ViommuData =
  | { type: 'arm-smmuv3' | 'tegra241-cmdqv' }
  /**
   * A type that this library does not know: its number and its struct. The driver may write its response to a copy of
   * the struct ({@link Viommu.answer}).
   */
  | { type: number; bytes?: Uint8Array | undefined };

// linux/iommufd.h: IOMMU_VIOMMU_TYPE_*, struct iommu_viommu_tegra241_cmdqv
const types = { 'arm-smmuv3': 1, 'tegra241-cmdqv': 2 } as const;
const answerLength = { 'arm-smmuv3': 0, 'tegra241-cmdqv': 16 } as const;
const longest = 4096;

function encode(data: ViommuData): { type: number; bytes: Uint8Array } {
  const given = fields(data, 'data');
  const { type } = given;
  if (typeof type === 'string') {
    const name = oneOf(type, 'data.type', Object.keys(types) as (keyof typeof types)[]);
    onlyKnown(data, ['type'], 'data');
    return { type: types[name], bytes: new Uint8Array(answerLength[name]) };
  }
  const number = integer(type, 'data.type', 0, 0xffff_ffff);
  onlyKnown(data, ['type', 'bytes'], 'data');
  const raw = given.bytes === undefined ? new Uint8Array() : bytes(given.bytes, 'data.bytes');
  if (raw.byteLength > longest) throw outOfRange('data.bytes.byteLength', `<= ${String(longest)}`, raw.byteLength);
  return { type: number, bytes: Uint8Array.from(raw) };
}

/**
 * A virtual IOMMU: a guest's share of the physical IOMMU of its devices, on top of a nesting parent. It allocates the
 * guest's page tables and registers devices under the guest's IDs for them.
 */
export class Viommu extends IommufdObject {
  readonly iommufd: Parents['Iommufd'];
  /** The nesting parent, which maps the guest's physical memory. */
  readonly parent: Hwpt;
  /**
   * The driver's response, in the format of the type. For 'tegra241-cmdqv': the location of the command queues'
   * registers.
   */
  readonly answer: Uint8Array;
  readonly #handle: ViommuHandle;

  static {
    shown(this, 'closed', 'id', ['parent', ({ parent }) => parent.id]);
  }

  private constructor(made: Key, parent: Hwpt, handle: ViommuHandle, answer: Uint8Array) {
    onlyInside(made, 'Viommu', 'use Iommufd#allocViommu()');
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
      key,
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
   * Allocates a guest's page table that is nested in the parent (IOMMU_HWPT_ALLOC). Before a device is attached to it,
   * the device must have a {@link Vdevice} of this virtual IOMMU.
   *
   * @throws KernelError EINVAL: the device is behind another IOMMU. EOPNOTSUPP: the IOMMU does not support this format.
   */
  allocNested(device: IommufdDevice, data: HwptData, opts?: NestedHwptOptions): Promise<Hwpt> {
    return nest(this, this.parent, device, data, opts);
  }

  /** Synchronous version of {@link allocNested}. */
  allocNestedSync(device: IommufdDevice, data: HwptData, opts?: NestedHwptOptions): Hwpt {
    return nestSync(this, this.parent, device, data, opts);
  }

  /**
   * Invalidates the IOMMU's caches for the guest, with the guest's own commands (IOMMU_HWPT_INVALIDATE).
   *
   * @throws KernelError EINVAL: the IOMMU does not support an entry or its type, or an entry refers to a device that is
   *   not registered here. EOPNOTSUPP: an unknown flag. `error.args.heeded` is the number of entries that were
   *   processed before the error.
   */
  invalidate(data: InvalidateData): void {
    const { handle } = this;
    invalidate({ viommu: this.id }, data, (...call) => native.viommuInvalidate(handle, ...call));
  }

  /**
   * Registers a device under the guest's ID for it (IOMMU_VDEVICE_ALLOC).
   *
   * @param virtualId for Arm SMMUv3, the stream ID
   * @throws KernelError EEXIST: the device or the ID is registered already. EINVAL: the device is behind another IOMMU.
   */
  allocVdevice(device: IommufdDevice, virtualId: number | bigint): Vdevice {
    return Vdevice.alloc(this, device, virtualId);
  }

  /**
   * Allocates a command queue in guest memory, which the IOMMU reads directly (IOMMU_HW_QUEUE_ALLOC).
   *
   * @throws KernelError EOPNOTSUPP: the IOMMU does not support such queues. ENOENT: a part of the queue's memory is not
   *   mapped. EFAULT: its pages are not contiguous in physical memory. EEXIST: the index is in use. EIO: the queue with
   *   the previous index does not exist. EINVAL: no such index. EOVERFLOW: iova plus length does not fit in 64 bits.
   */
  allocHwQueue(opts: HwQueueOptions): HwQueue {
    return HwQueue.alloc(this, opts);
  }

  /**
   * Allocates a queue for the events that the IOMMU reports for the guest (IOMMU_VEVENTQ_ALLOC). There can be one of
   * each type.
   *
   * @throws KernelError EEXIST: there is a queue of this type already.
   */
  allocEventQueue(opts: VeventQueueOptions): VeventQueue {
    return VeventQueue.alloc(this, opts);
  }
}

/**
 * A device of a guest, registered with the guest's virtual IOMMU. Close it before the device: closing the device
 * invalidates its object ID permanently.
 */
export class Vdevice extends IommufdObject {
  readonly viommu: Viommu;
  /** The guest's ID for the device. */
  readonly virtualId: bigint;

  static {
    shown(this, 'closed', 'id', 'virtualId', ['viommu', ({ viommu }) => viommu.id]);
  }

  private constructor(made: Key, viommu: Viommu, handle: VdeviceHandle, virtualId: bigint) {
    onlyInside(made, 'Vdevice', 'use Viommu#allocVdevice()');
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
      key,
      viommu,
      kernelCall(args, () => native.vdeviceAllocate(handle, id, number)),
      number,
    );
  }
}
