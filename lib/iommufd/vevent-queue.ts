// Event queues: what the IOMMU reports to a guest's virtual IOMMU.
import type { Parents } from '../lifetime/parents';
import { kernelCall } from '../errors/errors';
import { native, type FdHandle, type VeventQueueHandle } from '../addon/native';
import { integer, oneOf, options } from '../errors/validate';
import { EventQueue } from './event-queue';
import { owned } from './object';

/** Something that the IOMMU has to tell the guest's. */
export interface VirtualEvent {
  /** Its number, from 0 to 2^31 - 1, and then from 0 again. */
  sequence: number;
  /** How many events were lost since the one before, because the queue was full. */
  lost: number;
  /**
   * In the format of the queue's type: an event record of 32 bytes with the guest's stream ID ('arm-smmuv3'), a map of the
   * command queues that are in error of 16 bytes ('tegra241-cmdqv'). Undefined: the last events were lost, and there is
   * nothing else to tell.
   */
  bytes: Uint8Array | undefined;
}

export interface VeventQueueOptions {
  /** What kind of events; a number: one that this library does not know. */
  type: 'arm-smmuv3' | 'tegra241-cmdqv' | number;
  /** How many bytes an event of such a kind has. */
  eventLength?: number | undefined;
  /** How many events it holds; what comes when it is full is lost. 1 to 2^19. */
  depth: number;
}

// linux/iommufd.h: IOMMU_VEVENTQ_TYPE_*, IOMMU_VEVENTQ_FLAG_LOST_EVENTS, struct iommufd_vevent_header
const types = { 'arm-smmuv3': { number: 1, length: 32 }, 'tegra241-cmdqv': { number: 2, length: 16 } } as const;
const flagLost = 1;
const headerSize = 8;
const sequences = 0x7fff_ffff;
const deepest = 1 << 19;
/** In one reading. */
const most = 256;

function toType({ type, eventLength }: VeventQueueOptions): { number: number; length: number } {
  if (typeof type === 'string') return types[oneOf(type, 'type', Object.keys(types) as (keyof typeof types)[])];
  return {
    number: integer(type, 'type', 0, 0xffff_ffff),
    length: integer(eventLength, 'eventLength', 1, 4096),
  };
}

/** What the physical IOMMU has to tell a guest's virtual one. */
export class VeventQueue extends EventQueue<VirtualEvent> {
  readonly viommu: Parents['Viommu'];
  readonly #length: number;
  #next = 0;

  private constructor(viommu: Parents['Viommu'], handle: VeventQueueHandle, length: number) {
    super('event queue', owned(native.veventQueue, handle), native.veventQueueFile(handle), [viommu]);
    this.viommu = viommu;
    this.#length = length;
  }

  /** @internal */
  static alloc(viommu: Parents['Viommu'], opts: VeventQueueOptions): VeventQueue {
    const what = options(opts);
    const { number, length } = toType(what);
    const depth = integer(what.depth, 'depth', 1, deepest);
    const { handle } = viommu;
    const args = { viommu: viommu.id, type: number, depth };
    return new VeventQueue(
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
