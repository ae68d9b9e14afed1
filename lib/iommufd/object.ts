// What the numbered objects of an iommufd have in common: what they are built on, and how they end.
import { Calls } from '../lifetime/calls';
import { closedError, kernelCall, kernelCallAsync } from '../errors/errors';
import { expectClose, wasClosed } from '../lifetime/lost';
import type { NativeObject } from '../addon/native';
import type { Dependent } from './bound';

/** What owns the object natively. @internal */
export interface Owned {
  readonly id: number;
  destroy(): void;
  /** Lets go of it; the last share destroys it. */
  release(): void;
  destroyLater(): Promise<void>;
}

/** @internal */
export function owned<H>(functions: NativeObject<H>, handle: H): Owned {
  return {
    id: functions.id(handle),
    destroy: () => {
      functions.destroy(handle);
    },
    release: () => {
      functions.release(handle);
    },
    destroyLater: () => functions.destroyLater(handle),
  };
}

/** What takes an object along when it is closed. @internal */
export interface Keeper {
  readonly dependents: { add(child: Dependent): unknown; delete(child: Dependent): unknown };
}

/** An object of an iommufd. What is built on it is closed before it, and it keeps what it is built on alive. */
export abstract class IommufdObject {
  /** The object's number in its iommufd. */
  readonly id: number;
  /** What is built on it. @internal */
  readonly dependents = new Set<Dependent>();
  /** @internal */
  readonly calls = new Calls();
  readonly #what: string;
  readonly #owned: Owned;
  readonly #forget: (child: Dependent) => void;
  #closed = false;
  #closing: Promise<void> | undefined;

  /** @internal */
  constructor(what: string, owned: Owned, keepers: readonly Keeper[]) {
    this.#what = what;
    this.#owned = owned;
    this.id = owned.id;
    for (const { dependents } of keepers) dependents.add(this);
    this.#forget = (child) => {
      for (const { dependents } of keepers) dependents.delete(child);
    };
    expectClose(this, what);
  }

  /** Whether close() was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Throws if it is closed. @internal */
  check(): void {
    if (this.#closed) throw closedError(this.#what);
  }

  /** What must end before the object is destroyed. @internal */
  leave(): void {
    return;
  }

  /** @internal */
  leaveLater(): Promise<void> {
    this.leave();
    return Promise.resolve();
  }

  /**
   * Closes what is built on it, and destroys the object (IOMMU_DESTROY). If calls are under way on pool threads, that
   * happens behind them.
   *
   * @throws KernelError EBUSY: something else uses it, of another process or object.
   */
  close(): void {
    if (this.#closed) return;
    if (this.areUnderWay) {
      // Its error is nobody's: the kernel destroys the rest with the iommufd.
      this[Symbol.asyncDispose]().catch(() => undefined);
      return;
    }
    for (const child of [...this.dependents]) child.close();
    this.leave();
    kernelCall(this.#args(), () => {
      this.#owned.destroy();
    });
    this.#closed = true;
    this.#gone();
  }

  /** @internal */
  get areUnderWay(): boolean {
    return this.calls.areUnderWay || [...this.dependents].some((child) => child.areUnderWay);
  }

  /** @internal */
  abandon(): void {
    if (this.#closing) return; // it sees to that itself
    this.#closed = true;
    this.#owned.release();
    this.#gone();
  }

  #gone(): void {
    for (const child of [...this.dependents]) child.abandon();
    wasClosed(this);
    this.#forget(this);
  }

  #args(): Record<string, number> {
    return { [this.#what.toLowerCase().replace(' ', '')]: this.id };
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** close() on a pool thread, for `await using`. Waits for calls that are under way. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#closed
      ? Promise.resolve()
      : this.#closeLater().finally(() => {
          this.#closing = Promise.resolve(); // its error was told
        });
    return this.#closing;
  }

  async #closeLater(): Promise<void> {
    this.#closed = true;
    try {
      await this.calls.idle();
      for (const child of [...this.dependents]) await child[Symbol.asyncDispose]();
      await this.leaveLater();
      await kernelCallAsync(this.#args(), () => this.#owned.destroyLater());
    } finally {
      this.#owned.release();
      this.#gone();
    }
  }
}
