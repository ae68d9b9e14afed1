// Virtual event queues: events that the physical IOMMU reports for a guest's virtual IOMMU.
import { shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import type { Parents } from '../lifetime/parents';
import { kernelCall } from '../errors/errors';
import { native, type FdHandle, type VeventQueueHandle } from '../addon/native';
import { integer, oneOf, options } from '../errors/validate';
import { EventQueue } from './event-queue';
import { owned } from './object';

/** An event for the guest's virtual IOMMU. */
export interface VirtualEvent {
  /** The sequence number, from 0 to 2^31 - 1. It then starts from 0 again. */
  sequence: number;
  /** The number of events that were lost since the previous one because the queue was full. */
  lost: number;
  /**
   * The event in the format of the queue's type. 'arm-smmuv3': an event record of 32 bytes with the guest's stream ID.
   * 'tegra241-cmdqv': a bitmap of 16 bytes of the command queues in error. Undefined: the last events were lost, and
   * this event reports only the loss.
   */
  bytes: Uint8Array | undefined;
}

export interface VeventQueueOptions {
  /** The type of events. A number: a type that this library does not know. */
  type: 'arm-smmuv3' | 'tegra241-cmdqv' | number;
  /** The size of an event in bytes, for a type that this library does not know: 1 to 4096. */
  eventLength?: number | undefined;
  /** The capacity in events: 1 to 2^19. When the queue is full, further events are lost. */
  depth: number;
}

// linux/iommufd.h: IOMMU_VEVENTQ_TYPE_*, IOMMU_VEVENTQ_FLAG_LOST_EVENTS, struct iommufd_vevent_header
const types = { 'arm-smmuv3': { number: 1, length: 32 }, 'tegra241-cmdqv': { number: 2, length: 16 } } as const;
const flagLost = 1;
const headerSize = 8;
const sequences = 0x7fff_ffff;
const deepest = 1 << 19;
/** The most events per read. */
const most = 256;

function toType({ type, eventLength }: VeventQueueOptions): { number: number; length: number } {
  if (typeof type === 'string') return types[oneOf(type, 'type', Object.keys(types) as (keyof typeof types)[])];
  return {
    number: integer(type, 'type', 0, 0xffff_ffff),
    length: integer(eventLength, 'eventLength', 1, 4096),
  };
}

/** A queue of events that the physical IOMMU reports for a guest's virtual IOMMU. */
export class VeventQueue extends EventQueue<VirtualEvent> {
  readonly viommu: Parents['Viommu'];
  readonly #length: number;
  #next = 0;

  static {
    shown(this, 'closed', 'id', ['viommu', ({ viommu }) => viommu.id]);
  }

  private constructor(made: Key, viommu: Parents['Viommu'], handle: VeventQueueHandle, length: number) {
    onlyInside(made, 'VeventQueue', 'use Viommu#allocEventQueue()');
    super('event queue', owned(native.veventQueue, handle), native.veventQueueFile(handle), [viommu]);
    this.viommu = viommu;
    this.#length = length;
  }

  /** @internal */
  static alloc(viommu: Parents['Viommu'], opts: VeventQueueOptions): VeventQueue {
    const what = options(opts, ['type', 'eventLength', 'depth']);
    const { number, length } = toType(what);
    const depth = integer(what.depth, 'depth', 1, deepest);
    const { handle } = viommu;
    const args = { viommu: viommu.id, type: number, depth };
    return new VeventQueue(
      key,
      viommu,
      kernelCall(args, () => native.veventQueueAllocate(handle, number, depth)),
      length,
    );
  }

  /** @internal */
  protected take(file: FdHandle): VirtualEvent[] {
    const bytes = native.fdRead(file, most * (headerSize + this.#length), false);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const events: VirtualEvent[] = [];
    for (let at = 0; at < bytes.byteLength;) {
      const gone = (view.getUint32(at, true) & flagLost) !== 0;
      const sequence = view.getUint32(at + 4, true);
      const start = at + headerSize;
      at = gone ? start : start + this.#length;
      const lost = ((sequence - this.#next) & sequences) + (gone ? 1 : 0);
      this.#next = (sequence + 1) & sequences;
      events.push({ sequence, lost, bytes: gone ? undefined : bytes.slice(start, at) });
    }
    return events;
  }
}
