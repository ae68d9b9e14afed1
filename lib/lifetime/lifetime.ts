// Lifetime: the rules by which objects are closed, implemented once for every class.
//
// - A second close() does nothing. After close(), every other public member that needs the kernel throws ERR_CLOSED.
// - Children are closed before their parent. If closing a child or the object itself fails, most objects are closed
//   anyway, because the kernel frees their resources with the file. The first error is thrown at the end. An object
//   with `canFail` stays open in this case and can be closed again.
// - closeLater() is close() on another thread, for `[Symbol.asyncDispose]()`. The object counts as closed from the
//   start. closeLater() waits for the calls that are running and never leaves the object open. Calls of closeLater() in
//   the meantime return the same promise. After that promise has settled, closeLater() does not report its error again.
// - If an object with `behindCalls` is closed while calls run on other threads, it is destroyed after the last of them.
// - A child that could not be closed before its parent is abandoned. The kernel destroys it with the parent.
// - If an open object is garbage collected, a warning names it (lost.ts), unless its parent keeps it (`kept`).
import { closedError } from '../errors/errors';
import { Calls } from './calls';
import { expectClose, wasClosed } from './lost';

/** An object that is closed before its parent. @internal */
export interface Child {
  close(): void;
  [Symbol.asyncDispose]?(): Promise<void>;
  /** Whether calls on the object, or on objects built on it, are running on other threads. */
  readonly areUnderWay?: boolean;
  abandon?(): void;
}

/** How the objects of a class are closed. @internal */
export interface End<T> {
  /** The name of the class for error messages: 'VFIO device'. */
  readonly what: string;
  readonly canFail?: boolean;
  readonly behindCalls?: boolean;
  readonly kept?: boolean;
  /** Runs before all other steps. If it throws, the object stays open. Returned errors are reported at the end. */
  first?(object: T): unknown[];
  /** The children, in the order in which the kernel requires them to be closed. */
  children?(object: T): Iterable<Child>;
  /** Releases the kernel resource. Returns a promise if the class is closed on other threads only. */
  close(object: T): unknown;
  closeLater?(object: T): Promise<void>;
  /** Releases the native handle without an explicit destroy, after closeLater() and when the object is abandoned. */
  release?(object: T): void;
  /** Runs as soon as the object counts as closed. */
  left?(object: T): void;
  /** Runs when the kernel has released the object. `later`: closeLater() was called and waits for the result. */
  gone?(object: T, later: boolean): unknown;
}

/** @internal */
export class Lifetime {
  readonly #object: object;
  readonly #end: End<object>;
  #calls: Calls | undefined;
  #closed = false;
  #closing: Promise<void> | undefined;

  /**
   * Create this when nothing in the object's constructor can fail any more: from then on, the object must be closed.
   */
  constructor(object: object, end: End<object>) {
    this.#object = object;
    this.#end = end;
    if (end.kept !== true) expectClose(object, end.what, Lifetime);
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** @throws Error ERR_CLOSED */
  check(): void {
    if (this.#closed) throw closedError(this.#end.what);
  }

  /** The calls on the object that are running on other threads. */
  get calls(): Calls {
    this.#calls ??= new Calls();
    return this.#calls;
  }

  get areUnderWay(): boolean {
    if (this.#calls?.areUnderWay === true) return true;
    for (const child of this.#children()) if (child.areUnderWay === true) return true;
    return false;
  }

  #children(): Iterable<Child> {
    return this.#end.children?.(this.#object) ?? [];
  }

  close(): void {
    if (this.#closed) return;
    const [object, end] = [this.#object, this.#end];
    if (end.behindCalls === true && this.areUnderWay) {
      // Nobody can handle this error. The kernel destroys what is left with the parent.
      this.closeLater().catch(() => undefined);
      return;
    }
    const errors = end.first?.(object) ?? [];
    for (const child of end.children ? [...this.#children()] : []) this.#step(() => child.close(), errors);
    if (end.canFail === true) {
      end.close(object);
      this.#leave();
    } else {
      this.#leave();
      this.#step(() => end.close(object), errors);
    }
    end.gone?.(object, false);
    if (errors.length > 0) throw errors[0];
  }

  #step(step: () => void, errors: unknown[]): void {
    try {
      step();
    } catch (error) {
      if (this.#end.canFail === true) throw error;
      errors.push(error);
    }
  }

  /** Marks the object as closed. */
  #leave(): void {
    this.#closed = true;
    wasClosed(this.#object);
    for (const child of this.#end.children ? [...this.#children()] : []) child.abandon?.();
    this.#end.left?.(this.#object);
  }

  closeLater(): Promise<void> {
    this.#closing ??= (this.#closed ? this.#settled() : this.#closeLater()).finally(() => {
      this.#closing = undefined;
    });
    return this.#closing;
  }

  /** Waits for what close() left running: calls, and children that are destroyed after their calls. */
  async #settled(): Promise<void> {
    await this.#calls?.idle();
    await Promise.allSettled(Array.from(this.#children(), async (child) => child[Symbol.asyncDispose]?.()));
  }

  async #closeLater(): Promise<void> {
    const [object, end] = [this.#object, this.#end];
    const errors = end.first?.(object) ?? [];
    const step = async (call: () => unknown) => {
      try {
        await call();
      } catch (error) {
        errors.push(error);
      }
    };
    this.#closed = true;
    end.left?.(object);
    if (this.#calls) await this.#calls.idle();
    for (const child of [...this.#children()]) {
      await step(() => (child[Symbol.asyncDispose] ? child[Symbol.asyncDispose]?.() : child.close()));
    }
    wasClosed(object);
    for (const child of [...this.#children()]) child.abandon?.();
    await step(() => (end.closeLater ? end.closeLater(object) : end.close(object)));
    end.release?.(object);
    await step(() => end.gone?.(object, true));
    if (errors.length > 0) throw errors[0];
  }

  /** Marks the object as closed after its parent was destroyed. */
  abandon(): void {
    if (this.#closed) return;
    this.#leave();
    this.#end.release?.(this.#object);
    this.#end.gone?.(this.#object, false);
  }
}
