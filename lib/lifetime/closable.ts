// Closable: the base class of all objects that can be closed.
import type { Calls } from './calls';
import { Lifetime, type End } from './lifetime';

/** An object that owns a kernel resource until it is closed by {@link close} or `using`. */
export abstract class Closable {
  readonly #life: Lifetime;

  /** Call this when nothing in the constructor can fail any more. @internal */
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

  /** Closes the object. Closing it again is not an error. */
  close(): void {
    this.#life.close();
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}
