// An eventfd's count, taken through the event loop and handed to everybody who listens. What nobody takes stays in the
// eventfd, or here if it was read for somebody who left: nothing is lost between one listener and the next.
import { kernelCall } from '../errors/errors';
import { native, type FdHandle } from '../addon/native';
import { pollEvents, Watch } from './poll';
import { instance, options } from '../errors/validate';

/** Somebody who listens. None of its functions throws. @internal */
export interface CountListener {
  /** Takes a count, which is never 0. */
  take: (count: bigint) => void;
  /** Nothing more comes; with an error, if that is why. */
  end: (error?: unknown) => void;
  /** Whether waiting for it is what keeps the process alive. */
  readonly waits: boolean;
  /** Whether it still has to do with a count that it took. */
  readonly busy: boolean;
}

/** @internal */
export class Counter {
  readonly #fd: FdHandle;
  /** When all listeners have done with what was counted. */
  readonly #settled: (() => void) | undefined;
  readonly #listeners = new Set<CountListener>();
  #watch: Watch | undefined;
  #kept = 0n;
  #keepsAlive = true;
  #owed = false;
  #ended = false;

  constructor(fd: FdHandle, settled?: () => void) {
    this.#fd = fd;
    this.#settled = settled;
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Whether waiting keeps the process alive. */
  keepAlive(on: boolean): void {
    this.#keepsAlive = on;
    this.changed();
  }

  add(listener: CountListener): void {
    this.#watch ??= new Watch(this.#fd, pollEvents.readable, () => this.#take());
    this.#listeners.add(listener);
    const kept = this.takeKept();
    if (kept > 0n) listener.take(kept);
    this.changed();
  }

  /** What somebody left who did not take it. */
  takeKept(): bigint {
    const kept = this.#kept;
    this.#kept = 0n;
    return kept;
  }

  /**
   * A listener goes. What it got and did not take is the next one's.
   *
   * @throws what settling failed with, when nobody else is there to be told.
   */
  remove(listener: CountListener, untaken: bigint): void {
    if (!this.#listeners.delete(listener)) return;
    if (this.#listeners.size === 0) {
      this.#watch?.close();
      this.#watch = undefined;
      this.#kept += untaken;
      if (untaken > 0n) return; // it is still to be dealt with
    }
    this.changed();
  }

  /** A listener waits now, or does no longer. */
  changed(): void {
    const listeners = [...this.#listeners];
    if (this.#keepsAlive && listeners.some(({ waits }) => waits)) this.#watch?.ref();
    else this.#watch?.unref();
    if (!this.#owed || this.#ended || listeners.some(({ busy }) => busy)) return;
    this.#owed = false;
    try {
      this.#settled?.();
    } catch (error) {
      if (listeners.length > 0) {
        this.#over(error);
        return;
      }
      this.#owed = true; // it is tried again with the next listener
      throw error;
    }
  }

  #take(): void {
    let count: bigint;
    try {
      count = kernelCall({}, () => native.eventfdTake(this.#fd));
    } catch (error) {
      this.#over(error);
      return;
    }
    if (count === 0n) return;
    this.#owed = true;
    for (const listener of [...this.#listeners]) listener.take(count);
    this.changed();
  }

  /** Nothing more will be counted: hands out the last, and ends. */
  end(): void {
    if (this.#ended) return;
    if (this.#listeners.size > 0) this.#take();
    this.#ended = true;
    this.#over();
  }

  #over(error?: unknown): void {
    this.#watch?.close();
    this.#watch = undefined;
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    for (const listener of listeners) listener.end(error);
  }
}

/** How to listen. */
export interface ListenOptions {
  /** Ends it: the iterator throws the signal's reason, then. */
  signal?: AbortSignal;
}

interface Waiter {
  resolve: (result: IteratorResult<bigint, undefined>) => void;
  reject: (reason: unknown) => void;
}

/**
 * What an eventfd counts from now on, as an async iterator: each value is how often it was signalled since the last, at
 * least 1n. Nothing is lost: what is counted while nobody waits is in the next value, and what was not taken when the
 * iterator is left goes to whoever listens next.
 *
 * Waiting starts with the first `next()`. `return()`, which leaving a `for await` loop calls, ends it also while a
 * `next()` waits.
 */
export class Counts implements AsyncIterableIterator<bigint, undefined> {
  readonly #counter: Counter;
  readonly #signal: AbortSignal | undefined;
  readonly #waiters: Waiter[] = [];
  readonly #listener: CountListener;
  readonly #abort = (): void => this.#finish(this.#leave() ?? this.#signal?.reason, true);
  #untaken = 0n;
  #busy = false;
  #state: 'new' | 'listening' | 'over' = 'new';
  #failure: { error: unknown } | undefined;

  /** @internal */
  constructor(counter: Counter, opts?: ListenOptions) {
    const { signal } = options(opts);
    this.#signal = signal === undefined ? undefined : instance(signal, 'signal', AbortSignal);
    this.#counter = counter;
    const [waiters, isBusy] = [this.#waiters, () => this.#busy || this.#untaken > 0n];
    this.#listener = {
      get waits() {
        return waiters.length > 0;
      },
      get busy() {
        return isBusy();
      },
      take: (count) => {
        this.#untaken += count;
        this.#serve();
      },
      end: (error) => this.#finish(error, error !== undefined),
    };
  }

  #serve(): void {
    if (this.#untaken === 0n) return;
    const waiter = this.#waiters.shift();
    if (!waiter) return;
    const value = this.#untaken;
    this.#untaken = 0n;
    this.#busy = true;
    waiter.resolve({ value, done: false });
  }

  /** Nothing more comes from the counter. */
  #finish(error: unknown, failed: boolean): void {
    this.#state = 'over';
    this.#signal?.removeEventListener('abort', this.#abort);
    if (failed) this.#failure = { error };
    for (const waiter of this.#waiters.splice(0)) this.#last(waiter);
  }

  #last({ resolve, reject }: Waiter): void {
    const failure = this.#failure;
    this.#failure = undefined; // told once
    if (failure) reject(failure.error);
    else resolve({ value: undefined, done: true });
  }

  /** An error, if there is one to tell. */
  #leave(): unknown {
    const untaken = this.#untaken;
    this.#untaken = 0n;
    this.#busy = false;
    this.#state = 'over';
    try {
      this.#counter.remove(this.#listener, untaken);
    } catch (error) {
      return error;
    }
    return undefined;
  }

  /** The next count, once there is one; what the signal was aborted with is thrown once. */
  next(): Promise<IteratorResult<bigint, undefined>> {
    return new Promise((resolve, reject) => {
      this.#busy = false;
      if (this.#state === 'new') this.#start();
      if (this.#state === 'over' && this.#untaken === 0n) {
        this.#last({ resolve, reject });
        return;
      }
      this.#waiters.push({ resolve, reject });
      this.#serve();
      if (this.#state === 'listening') this.#counter.changed();
    });
  }

  #start(): void {
    this.#state = 'over';
    if (this.#signal?.aborted === true) {
      this.#failure = { error: this.#signal.reason };
      return;
    }
    if (this.#counter.ended) return;
    this.#counter.add(this.#listener);
    this.#state = 'listening';
    this.#signal?.addEventListener('abort', this.#abort, { once: true });
  }

  /** Ends it. @throws KernelError: an INTx could not be unmasked. */
  async return(): Promise<IteratorResult<bigint, undefined>> {
    const error = this.#state === 'listening' ? this.#leave() : undefined;
    this.#untaken = 0n;
    this.#failure = undefined;
    this.#finish(undefined, false);
    if (error !== undefined) throw error as Error;
    return Promise.resolve({ value: undefined, done: true });
  }

  /** Itself. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  /** return(), for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }
}
