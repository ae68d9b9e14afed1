// A mapping in an IOAS: its state, and mapping it again after it was revoked.
import { Lifetime, type End } from '../lifetime/lifetime';
import type { Parents } from '../lifetime/parents';
import { DmaBuf } from '../dmabuf/dma-buf';
import type { Exported } from '../dmabuf/exported';
import { codedError, closedError } from '../errors/errors';
import { instance, outOfRange } from '../errors/validate';
import type { Source } from './placement';

/**
 * 'live': DMA reaches the memory. 'revoked': the exporting device took its memory back, every DMA through the mapping
 * faults, and only {@link IoasMapping.remap} brings it back. 'closed': unmapped.
 */
export type MappingState = 'live' | 'revoked' | 'closed';

/** What an {@link Ioas} tells its listeners, soon after it happened. Listening costs something at each revocation only. */
export interface IoasEvents {
  /** An object of this thread did something to the exporting device that killed the mapping. */
  revoked: [mapping: IoasMapping];
  /** A mapping with `autoRemap` is live again. */
  restored: [mapping: IoasMapping];
  /** A mapping with `autoRemap` could not be mapped again, and is tried again when the device changes next. */
  restoreFailed: [mapping: IoasMapping, error: unknown];
}

/** A range of an IOAS that leads to memory. It stays until it or its IOAS is closed, whether or not this is kept. */
export class IoasMapping {
  readonly ioas: Parents['Ioas'];
  readonly iova: bigint;
  /** In bytes. */
  readonly length: bigint;
  /** Its place in its IOAS's list. @internal */
  index = 0;
  #source: Source;
  #exported: Exported | undefined;
  /** False after a remap that failed: the IOVAs are free, and no longer kept for this mapping. */
  #occupied = true;
  /** Whether it was said that this mapping is revoked. */
  #announced = false;

  static readonly #end: End<IoasMapping> = {
    ...{ what: 'mapping', canFail: true, kept: true },
    close: (mapping) => {
      if (mapping.#isPlaced) mapping.ioas.unplace(mapping.iova, mapping.length);
    },
    closeLater: async (mapping) => {
      if (mapping.#isPlaced) await mapping.ioas.unplaceLater(mapping.iova, mapping.length);
    },
    left: (mapping) => {
      mapping.ioas.forget(mapping);
      if (mapping.#source.autoRemap) mapping.#source.dmaBuf?.close();
    },
  };
  readonly #life = new Lifetime(this, IoasMapping.#end);

  /** @internal */
  constructor(ioas: Parents['Ioas'], iova: bigint, source: Source) {
    this.ioas = ioas;
    this.iova = iova;
    this.length = source.length;
    this.#source = source;
    this.#exported = source.dmaBuf?.exported;
  }

  /** What it shows, for a copy. @internal */
  get source(): Readonly<Source> {
    return this.#source;
  }

  /**
   * As far as this process can know: it sees what its own objects do to a device, in all its threads (reset, hot reset,
   * function-level reset, command register, power, close), not what another process does to it.
   */
  get state(): MappingState {
    if (this.#life.closed) return 'closed';
    const reaches = this.#exported?.reaches(this.#source.revocations) ?? true;
    return reaches && this.#occupied ? 'live' : 'revoked';
  }

  /** Whether it is host memory, which is pinned while a device is attached. @internal */
  get pinned(): boolean {
    return this.#source.dmaBuf === undefined;
  }

  /** Called when the kernel has unmapped it. @internal */
  gone(): void {
    this.#life.abandon();
  }

  /** Whether the kernel has it to unmap. An IOAS that is being closed takes its mappings along. */
  get #isPlaced(): boolean {
    return this.#occupied && !this.ioas.closed;
  }

  /**
   * Maps the dma-buf again at the same IOVA: what a revoked mapping needs. The device must decode memory again.
   *
   * @param dmaBuf another dma-buf to put in its place, if the first one is closed or dead; at least as long
   * @throws KernelError ENODEV: still revoked; the mapping stays 'revoked' and remap() can be tried again.
   *   Error ERR_NOT_REMAPPABLE: a mapping of host memory, which nobody revokes. Error ERR_CLOSED. For another buffer,
   *   RangeError: too short. Error ERR_OTHER_KERNEL: of another kernel than the first.
   */
  remap(dmaBuf?: DmaBuf): void {
    const { dmaBuf: old, offset, length, access, autoRemap } = this.#source;
    this.#life.check();
    if (!old) throw codedError('ERR_NOT_REMAPPABLE', 'only mappings of dma-bufs can be mapped again');
    const next = dmaBuf === undefined ? old : instance(dmaBuf, 'dmaBuf', DmaBuf);
    // Before anything is undone:
    if (next.closed) throw closedError('dma-buf');
    if (next.kernel !== old.kernel) throw codedError('ERR_OTHER_KERNEL', 'the dma-buf belongs to another kernel');
    const needed = offset + length;
    if (next.size < needed) throw outOfRange('dmaBuf.size', `>= ${String(needed)}`, next.size);
    const { exported } = next;
    const own = autoRemap && next !== old ? next.share() : next;
    const revocations = exported?.revocations ?? 0;
    try {
      if (this.#occupied) this.ioas.unplace(this.iova, length);
      this.#occupied = false;
      this.ioas.place(own, offset, length, this.iova, access);
    } catch (error) {
      if (own !== next) own.close();
      throw error;
    }
    this.#occupied = true;
    this.#announced = false;
    this.#exported = exported;
    this.#source = { ...this.#source, dmaBuf: own, revocations };
    if (own !== next) old.close();
  }

  /** Looks if it is revoked now, and restores it if that is wanted and possible. Yields what there is to say. @internal */
  *look(): Generator<{ [Name in keyof IoasEvents]: [Name, ...IoasEvents[Name]] }[keyof IoasEvents]> {
    if (this.state !== 'revoked') return;
    if (!this.#announced) yield ['revoked', this];
    this.#announced = true;
    if (!this.#source.autoRemap || this.#exported?.mappable !== true) return;
    try {
      this.remap();
      yield ['restored', this];
    } catch (error) {
      yield ['restoreFailed', this, error];
    }
  }

  /** Unmaps. */
  close(): void {
    this.#life.close();
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Unmaps on a pool thread, for `await using`: unpinning much host memory takes time. 'closed' at once. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#life.closeLater();
  }
}
