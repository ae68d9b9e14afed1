// The life of an object that can be closed. Its rules are here, once, for every class:
//
// - close() a second time does nothing. After close() every other public member that needs the kernel throws ERR_CLOSED.
// - Children are closed before their parent. Most objects are closed even if a child, or their own end, fails: the kernel
//   cleans up with the file; the first error is thrown at the end. An object whose end `canFail` stays open then, and can
//   be closed again.
// - closeLater() is close() on a pool thread, for `[Symbol.asyncDispose]()`. The object counts as closed from the start. It
//   waits for the calls that are under way, and never leaves the object open. Who calls it again gets the same promise;
//   when that is settled, its error was told.
// - An object with `behindCalls`, when it is closed while calls are under way on pool threads, ends behind them.
// - What could not be closed when its parent is, is abandoned: the kernel destroys it with the parent.
// - An object that is garbage collected open is named in a warning (lost.ts), unless its parent keeps it (`kept`).
import { closedError } from '../errors/errors';
import { Calls } from './calls';
import { expectClose, wasClosed } from './lost';

/** What is closed before its parent. @internal */
export interface Child {
  close(): void;
  [Symbol.asyncDispose]?(): Promise<void>;
  /** Whether calls on it, or on what is built on it, are under way on pool threads. */
  readonly areUnderWay?: boolean;
  abandon?(): void;
}

/** How the objects of a class end. @internal */
export interface End<T> {
  /** What such an object is called: 'VFIO device'. */
  readonly what: string;
  readonly canFail?: boolean;
  readonly behindCalls?: boolean;
  readonly kept?: boolean;
  /**
   * What comes before everything else. If it throws, the object stays open. Returns errors that are told at the end.
   */
  first?(object: T): unknown[];
  /** In the order in which the kernel wants them closed. */
  children?(object: T): Iterable<Child>;
  /** Gives it back to the kernel. Of an object that is closed on pool threads only, a promise. */
  close(object: T): unknown;
  closeLater?(object: T): Promise<void>;
  /** Lets go of it without the kernel's help: after closeLater(), and when it is abandoned. */
  release?(object: T): void;
  /** As soon as it counts as closed. */
  left?(object: T): void;
  /** When the kernel has nothing of it any more. `later`: after closeLater(), which waits for this. */
  gone?(object: T, later: boolean): unknown;
}

/** @internal */
export class Lifetime {
  readonly #object: object;
  readonly #end: End<object>;
  #calls: Calls | undefined;
  #closed = false;
  #closing: Promise<void> | undefined;

  /** To be made when nothing in the object's constructor can fail any more: from then on it is expected to be closed. */
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

  /** The calls on it that are under way on pool threads. */
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
      // Its error is nobody's: the kernel destroys the rest with the parent.
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

  /** From here on it counts as closed. */
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

  /** What close() left behind it: calls, and children that end behind theirs. */
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

  /** Its parent is gone, and so is it. */
  abandon(): void {
    if (this.#closed) return;
    this.#leave();
    this.#end.release?.(this.#object);
    this.#end.gone?.(this.#object, false);
  }
}
