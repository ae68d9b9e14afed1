// What every class of objects that can be closed has.
import type { Calls } from './calls';
import { Lifetime, type End } from './lifetime';

/** An object that holds something of the kernel's until it is closed: {@link close}, or `using`. */
export abstract class Closable {
  readonly #life: Lifetime;

  /** To be called when nothing can fail any more. @internal */
  constructor(end: End<object>) {
    this.#life = new Lifetime(this, end);
  }

  /** @internal */
  protected get life(): Lifetime {
    return this.#life;
  }

  /** @throws Error ERR_CLOSED @internal */
  check(): void {
    this.#life.check();
  }

  /** @internal */
  get calls(): Calls {
    return this.#life.calls;
  }

  /** @internal */
  get areUnderWay(): boolean {
    return this.#life.areUnderWay;
  }

  /** Whether close() was called. */
  get closed(): boolean {
    return this.#life.closed;
  }

  /** Closes it. A second time is no error. */
  close(): void {
    this.#life.close();
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}
