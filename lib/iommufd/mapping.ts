// IoasMapping: a mapping in an IOAS, its state, and mapping it again after a revocation.
import { shown } from '../addon/shown';
import { type Key, onlyInside } from '../errors/key';
import { Lifetime, type End } from '../lifetime/lifetime';
import type { Parents } from '../lifetime/parents';
import { DmaBuf } from '../dmabuf/dma-buf';
import { reaches, type Exported } from '../dmabuf/exported';
import { codedError, closedError } from '../errors/errors';
import { instance, outOfRange } from '../errors/validate';
import { accessName, type Source } from './placement';

/**
 * 'live': DMA reaches the memory. 'revoked': the exporting device revoked its memory, DMA through the mapping faults,
 * and {@link IoasMapping.remap} is needed to map it again. 'closed': unmapped.
 */
export type MappingState = 'live' | 'revoked' | 'closed';

/**
 * The events of an {@link Ioas}. They are emitted on the next tick. Listeners cost time only when a device's memory
 * decoding changes.
 */
export interface IoasEvents {
  /** An object of this thread changed the exporting device, which revoked the mapping. */
  revoked: [mapping: IoasMapping];
  /** A mapping with `autoRemap` is live again. */
  restored: [mapping: IoasMapping];
  /** A mapping with `autoRemap` could not be mapped again. The next change of the device triggers another attempt. */
  restoreFailed: [mapping: IoasMapping, error: unknown];
  /**
   * The IOAS has so many mappings that looking at them after a change takes several turns of the event loop. Emitted
   * after each turn: the number of mappings that are left to look at, 0 at the end, and the number of all mappings.
   */
  progress: [left: number, total: number];
}

/**
 * A range of an IOAS that is mapped to memory. The mapping exists until it or its IOAS is closed, even if this object
 * is garbage collected.
 */
export class IoasMapping {
  readonly ioas: Parents['Ioas'];
  readonly iova: bigint;
  /** The length in bytes. */
  readonly length: bigint;
  #source: Source;
  #exported: Exported | undefined;
  /** False after a failed remap(): the IOVAs are free and no longer reserved for this mapping. */
  #occupied = true;
  /** Whether the event 'revoked' was emitted. */
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

  static {
    shown(
      this,
      'state',
      'iova',
      'length',
      ['offset', (mapping) => mapping.#source.offset],
      ['access', (mapping) => accessName(mapping.#source.access)],
      ['autoRemap', (mapping) => mapping.#source.autoRemap],
      ['ioas', ({ ioas }) => ioas.id],
    );
  }

  /** @internal */
  constructor(made: Key, ioas: Parents['Ioas'], iova: bigint, source: Source) {
    onlyInside(made, 'IoasMapping', 'use Ioas#mapDmaBuf() or Ioas#mapMemory()');
    this.ioas = ioas;
    this.iova = iova;
    this.length = source.length;
    this.#source = source;
    this.#exported = source.dmaBuf?.exported;
  }

  /** The mapped memory, for a copy. @internal */
  get source(): Readonly<Source> {
    return this.#source;
  }

  /**
   * The state as far as this process can detect it. The library tracks what objects on all threads of this process do
   * to a device: reset, hot reset, function-level reset, command register, power, close. It does not see what other
   * processes do.
   */
  get state(): MappingState {
    if (this.#life.closed) return 'closed';
    const live = this.#exported?.reaches(this.#source.revocations) ?? true;
    return live && this.#occupied ? 'live' : 'revoked';
  }

  /** Whether it maps host memory, which is pinned while a device is attached. @internal */
  get pinned(): boolean {
    return this.#source.dmaBuf === undefined;
  }

  /** Called when the kernel has unmapped it. @internal */
  gone(): void {
    this.#life.abandon();
  }

  /** Whether the kernel has to unmap it. Closing an IOAS unmaps all its mappings. */
  get #isPlaced(): boolean {
    return this.#occupied && !this.ioas.closed;
  }

  /**
   * Maps the dma-buf again at the same IOVA after a revocation. The device must decode memory again.
   *
   * @param dmaBuf another dma-buf to map instead, if the first one is closed or permanently revoked. It must be at
   *   least as long
   * @throws KernelError ENODEV: still revoked. The mapping stays 'revoked', and remap() can be called again. Error
   *   ERR_NOT_REMAPPABLE: a mapping of host memory, which cannot be revoked. Error ERR_CLOSED. For another buffer,
   *   RangeError: too short. Error ERR_OTHER_KERNEL: it belongs to another kernel than the first.
   */
  remap(dmaBuf?: DmaBuf): void {
    const { dmaBuf: old, offset, length, access, autoRemap } = this.#source;
    this.#life.check();
    if (!old) throw codedError('ERR_NOT_REMAPPABLE', 'only mappings of dma-bufs can be mapped again');
    const next = dmaBuf === undefined ? old : instance(dmaBuf, 'dmaBuf', DmaBuf);
    // These checks come before the unmap.
    if (next.closed) throw closedError('dma-buf');
    if (next.kernel !== old.kernel) throw codedError('ERR_OTHER_KERNEL', 'the dma-buf belongs to another kernel');
    const needed = offset + length;
    if (next.size < needed) throw outOfRange('dmaBuf.size', `>= ${String(needed)}`, next.size);
    const { exported } = next;
    const own = autoRemap && next !== old ? next.share() : next;
    const revocations = exported?.revocations ?? 0;
    try {
      if (this.#occupied) {
        this.ioas.unplace(this.iova, length);
        this.#occupied = false;
        this.ioas.placed(this, false);
      }
      this.ioas.place(own, offset, length, this.iova, access);
    } catch (error) {
      if (own !== next) own.close();
      throw error;
    }
    this.#occupied = true;
    this.ioas.placed(this, true);
    this.#announced = false;
    this.#exported = exported;
    this.#source = { ...this.#source, dmaBuf: own, revocations };
    if (own !== next) old.close();
  }

  /** Whether `state` is 'revoked'. `words` keeps the state words of exports, for many calls. @internal */
  isRevoked(words: Map<Exported, number>): boolean {
    const exported = this.#exported;
    if (!this.#occupied || !exported) return !this.#occupied;
    let word = words.get(exported);
    if (word === undefined) words.set(exported, (word = exported.word));
    return !reaches(word, this.#source.revocations);
  }

  /**
   * Checks whether the mapping was revoked, and maps it again if `autoRemap` is set and the device allows it. Yields
   * the events to emit. @internal
   */
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

  /** Unmaps the memory. */
  close(): void {
    this.#life.close();
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /**
   * Unmaps on another thread, for `await using`: unpinning much host memory takes time. The state is 'closed' at once.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#life.closeLater();
  }
}
