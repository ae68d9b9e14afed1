// Which mappings a device's revocation kills. The kernel tells nobody, so native code counts: what this process does to a
// device, in whichever thread, is in the device's word (native/core/device_state.h).
import type { Kernel } from '../kernel/kernel';
import { native, type FdHandle, type WordOf } from '../addon/native';

const disabledBit = 1;
const revokingBit = 2;
const deadBit = 4;
const countUnit = 8;

/** A dma-buf that this process exported: how often it was revoked. @internal */
export class Exported {
  /** How many ranges it has: that decides who can import it. */
  readonly ranges: number;
  readonly #word: WordOf;

  private constructor(ranges: number, word: WordOf) {
    this.ranges = ranges;
    this.#word = word;
  }

  /** undefined: another process made the buffer, or this one has forgotten that it did. */
  static find(dmaBuf: FdHandle): Exported | undefined {
    const found = native.dmaBufExport(dmaBuf);
    return found && new Exported(found.ranges, found.word);
  }

  /** To be noted before a mapping is made. */
  get revocations(): number {
    return Math.floor(this.#word() / countUnit);
  }

  /** Whether a mapping made when there had been so many revocations still leads to the memory. */
  reaches(revocations: number): boolean {
    const word = this.#word();
    return (word & revokingBit) === 0 && Math.floor(word / countUnit) === revocations;
  }

  /** Whether its device was closed, so that it can never be mapped again. */
  get dead(): boolean {
    return (this.#word() & deadBit) !== 0;
  }

  /** Whether it can be mapped now. */
  get mappable(): boolean {
    return (this.#word() & (disabledBit | revokingBit)) === 0;
  }
}

/** Tells all that watch mappings on this kernel, in this thread. @internal */
export function tellWatchers(kernel: Kernel): void {
  for (const reference of kernel.watchers) {
    const watcher = reference.deref();
    if (watcher) watcher.lookAtMappings();
    else kernel.watchers.delete(reference);
  }
}
