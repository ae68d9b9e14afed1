// Hardware queues: command queues in guest memory that the IOMMU reads.
import { shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import type { Parents } from '../lifetime/parents';
import { kernelCall } from '../errors/errors';
import { native, type HwQueueHandle } from '../addon/native';
import { integer, oneOf, options, u64 } from '../errors/validate';
import { IommufdObject, owned } from './object';

/** The type, index and memory of a hardware queue. */
export interface HwQueueOptions {
  /** The type of the queue. A number: a type that this library does not know. */
  type: 'tegra241-cmdqv' | number;
  /**
   * The guest's index of the queue, from 0 on. Some IOMMUs require queues to be created in ascending order and closed
   * in descending order.
   */
  index: number;
  /** The start of the queue's memory as a guest physical address: an IOVA of the nesting parent. */
  iova: number | bigint;
  /** The size of the queue's memory in bytes. */
  length: number | bigint;
}

// linux/iommufd.h: IOMMU_HW_QUEUE_TYPE_*
const types = { 'tegra241-cmdqv': 1 } as const;

/**
 * A command queue in guest memory that the physical IOMMU reads directly. While the queue is open, its memory cannot be
 * unmapped.
 */
export class HwQueue extends IommufdObject {
  readonly viommu: Parents['Viommu'];
  readonly index: number;

  static {
    shown(this, 'closed', 'id', 'index', ['viommu', ({ viommu }) => viommu.id]);
  }

  private constructor(made: Key, viommu: Parents['Viommu'], handle: HwQueueHandle, index: number) {
    onlyInside(made, 'HwQueue', 'use Viommu#allocHwQueue()');
    super('hardware queue', owned(native.hwQueue, handle), [viommu]);
    this.viommu = viommu;
    this.index = index;
  }

  /** @internal */
  static alloc(viommu: Parents['Viommu'], opts: HwQueueOptions): HwQueue {
    const { type, index, iova, length } = options(opts, ['type', 'index', 'iova', 'length']);
    const number =
      typeof type === 'string'
        ? types[oneOf(type, 'type', Object.keys(types) as (keyof typeof types)[])]
        : integer(type, 'type', 0, 0xffff_ffff);
    const which = integer(index, 'index', 0, 0xffff_ffff);
    const [start, size] = [u64(iova, 'iova'), u64(length, 'length', 1n)];
    const { handle } = viommu;
    const args = { viommu: viommu.id, type: number, index: which, iova: start, length: size };
    return new HwQueue(
      key,
      viommu,
      kernelCall(args, () => native.hwQueueAllocate(handle, number, which, start, size)),
      which,
    );
  }
}
