// Hardware queues: commands in a guest's memory that the IOMMU reads.
import type { Parents } from '../lifetime/parents';
import { kernelCall } from '../errors/errors';
import { native, type HwQueueHandle } from '../addon/native';
import { integer, oneOf, options, u64 } from '../errors/validate';
import { IommufdObject, owned } from './object';

/** Which queue it is, and where its memory lies. */
export interface HwQueueOptions {
  /** What kind of queue; a number: one that this library does not know. */
  type: 'tegra241-cmdqv' | number;
  /** The guest's number for the queue, from 0 on. Some IOMMUs want them made in ascending order, and closed in descending. */
  index: number;
  /** The queue's memory, in the guest's physical addresses: IOVAs of the nesting parent. */
  iova: number | bigint;
  /** In bytes. */
  length: number | bigint;
}

// linux/iommufd.h: IOMMU_HW_QUEUE_TYPE_*
const types = { 'tegra241-cmdqv': 1 } as const;

/**
 * A queue of commands in a guest's memory that the physical IOMMU reads by itself. While it is open, its memory cannot be
 * unmapped.
 */
export class HwQueue extends IommufdObject {
  readonly viommu: Parents['Viommu'];
  readonly index: number;

  private constructor(viommu: Parents['Viommu'], handle: HwQueueHandle, index: number) {
    super('hardware queue', owned(native.hwQueue, handle), [viommu]);
    this.viommu = viommu;
    this.index = index;
  }

  /** @internal */
  static alloc(viommu: Parents['Viommu'], opts: HwQueueOptions): HwQueue {
    const { type, index, iova, length } = options(opts);
    const number =
      typeof type === 'string'
        ? types[oneOf(type, 'type', Object.keys(types) as (keyof typeof types)[])]
        : integer(type, 'type', 0, 0xffff_ffff);
    const which = integer(index, 'index', 0, 0xffff_ffff);
    const [start, size] = [u64(iova, 'iova'), u64(length, 'length', 1n)];
    const { handle } = viommu;
    const args = { viommu: viommu.id, type: number, index: which, iova: start, length: size };
    return new HwQueue(
      viommu,
      kernelCall(args, () => native.hwQueueAllocate(handle, number, which, start, size)),
      which,
    );
  }
}
