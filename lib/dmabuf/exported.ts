// Tracks which mappings a device's revocation invalidated. The kernel does not report revocations. Native code
// therefore counts what this process does to a device, in all threads, in the device's state word
// (native/core/device_state.h).
import type { Kernel } from '../kernel/kernel';
import { native, type FdHandle, type WordOf } from '../addon/native';

const disabledBit = 1;
const revokingBit = 2;
const deadBit = 4;
const countUnit = 8;

/** The record of a dma-buf that this process exported, with its number of revocations. @internal */
export class Exported {
  /** The number of ranges, which determines the possible importers. */
  readonly ranges: number;
  readonly #word: WordOf;

  private constructor(ranges: number, word: WordOf) {
    this.ranges = ranges;
    this.#word = word;
  }

  /** Returns undefined if another process exported the buffer or the record no longer exists. */
  static find(dmaBuf: FdHandle): Exported | undefined {
    const found = native.dmaBufExport(dmaBuf);
    return found && new Exported(found.ranges, found.word);
  }

  /** The number of revocations so far. Read it before creating a mapping. */
  get revocations(): number {
    return Math.floor(this.#word() / countUnit);
  }

  /** Whether a mapping is still valid that was created when the number of revocations was `revocations`. */
  reaches(revocations: number): boolean {
    return reaches(this.#word(), revocations);
  }

  /** The state word. */
  get word(): number {
    return this.#word();
  }

  /** Whether the device was closed, so that the buffer can never be mapped again. */
  get dead(): boolean {
    return (this.#word() & deadBit) !== 0;
  }

  /** Whether the buffer can be mapped now. */
  get mappable(): boolean {
    return (this.#word() & (disabledBit | revokingBit)) === 0;
  }
}

/** See {@link Exported.reaches}. @internal */
export function reaches(word: number, revocations: number): boolean {
  return (word & revokingBit) === 0 && Math.floor(word / countUnit) === revocations;
}

/** Notifies all watchers of mappings on this kernel, in this thread. @internal */
export function tellWatchers(kernel: Kernel): void {
  for (const reference of kernel.watchers) {
    const watcher = reference.deref();
    if (watcher) watcher.lookAtMappings();
    else kernel.watchers.delete(reference);
  }
}
