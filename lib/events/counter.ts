// Counter reads an eventfd's count in the event loop and passes it to all listeners. Without listeners, counts stay in
// the eventfd. A count that the last listener did not consume is kept for the next listener.
import { shown } from '../addon/shown';
import { type Key, onlyInside } from '../errors/key';
import { kernelCall } from '../errors/errors';
import { native, type FdHandle } from '../addon/native';
import { Watch } from './poll';
import { instance, options } from '../errors/validate';

/** A listener. None of its functions may throw. @internal */
export interface CountListener {
  /** Receives a count, which is never 0. */
  take: (count: bigint) => void;
  /** Called when no more counts follow. `error` is set if an error is the cause. */
  end: (error?: unknown) => void;
  /** Whether a caller waits for this listener, which keeps the process alive. */
  readonly waits: boolean;
  /** Whether the listener has a count that it has not finished processing. */
  readonly busy: boolean;
}

/** @internal */
export class Counter {
  readonly #fd: FdHandle;
  /** Called when all listeners have processed the count. For INTx, it unmasks the interrupt. */
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

  /** Sets whether waiting keeps the process alive. */
  keepAlive(on: boolean): void {
    this.#keepsAlive = on;
    this.changed();
  }

  add(listener: CountListener): void {
    this.#watch ??= Watch.ofCounts(this.#fd, (count) => (count === 0n ? this.#take() : this.#pass(count)));
    this.#listeners.add(listener);
    const kept = this.takeKept();
    if (kept > 0n) listener.take(kept);
    this.changed();
  }

  /** Returns and clears the count that the last listener did not consume. */
  takeKept(): bigint {
    const kept = this.#kept;
    this.#kept = 0n;
    return kept;
  }

  /**
   * Removes a listener. A count that the last listener did not consume is kept for the next listener.
   *
   * @throws the error of the `settled` callback, if no listener is left to receive it.
   */
  remove(listener: CountListener, untaken: bigint): void {
    if (!this.#listeners.delete(listener)) return;
    if (this.#listeners.size === 0) {
      this.#watch?.close();
      this.#watch = undefined;
      this.#kept += untaken;
      if (untaken > 0n) return; // the next listener must process the kept count first
    }
    this.changed();
  }

  /** To be called when a listener's `waits` or `busy` has changed. */
  changed(): void {
    let [waits, busy] = [false, false];
    for (const listener of this.#listeners) {
      waits ||= listener.waits;
      busy ||= listener.busy;
    }
    this.#watch?.keepAlive(this.#keepsAlive && waits);
    if (!this.#owed || this.#ended || busy) return;
    this.#owed = false;
    try {
      this.#settled?.();
    } catch (error) {
      if (this.#listeners.size > 0) {
        this.#over(error);
        return;
      }
      this.#owed = true; // try again with the next listener
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
    if (count > 0n) this.#pass(count);
  }

  /** Passes a count to the listeners that exist now: take() may add or remove some. */
  #pass(count: bigint): void {
    this.#owed = true;
    if (this.#listeners.size === 1) {
      for (const listener of this.#listeners) {
        listener.take(count);
        break;
      }
    } else {
      for (const listener of [...this.#listeners]) listener.take(count);
    }
    this.changed();
  }

  /** Passes on the remaining count and ends all listeners. */
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

/** Options for listening. */
export interface ListenOptions {
  /** Aborting it ends the iterator, which throws the signal's reason. */
  signal?: AbortSignal;
}

interface Waiter {
  resolve: (result: IteratorResult<bigint, undefined>) => void;
  reject: (reason: unknown) => void;
}

/**
 * An async iterator over an eventfd's counts. Each value is the number of signals since the previous value, at least
 * 1n. Signals between two `next()` calls are added to the next value. If the iterator ends with a count that it has not
 * returned, the next listener receives that count.
 *
 * The first `next()` starts listening. `return()`, which leaving a `for await` loop calls, also ends a pending
 * `next()`.
 */
export class Counts implements AsyncIterableIterator<bigint> {
  readonly #counter: Counter;
  readonly #signal: AbortSignal | undefined;
  readonly #waiters: Waiter[] = [];
  readonly #listener: CountListener;
  readonly #abort = (): void => this.#finish(this.#leave() ?? this.#signal?.reason, true);
  #untaken = 0n;
  #busy = false;
  #state: 'new' | 'listening' | 'over' = 'new';
  #failure: { error: unknown } | undefined;

  static {
    shown(this);
  }

  /** @internal */
  constructor(made: Key, counter: Counter, opts?: ListenOptions) {
    onlyInside(made, 'Counts', 'use InterruptIndex#listen() or Eventfd#listen()');
    const { signal } = options(opts, ['signal']);
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

  /** Ends the iterator: the counter sends no more counts. */
  #finish(error: unknown, failed: boolean): void {
    this.#state = 'over';
    this.#signal?.removeEventListener('abort', this.#abort);
    if (failed) this.#failure = { error };
    for (const waiter of this.#waiters.splice(0)) this.#last(waiter);
  }

  #last({ resolve, reject }: Waiter): void {
    const failure = this.#failure;
    this.#failure = undefined; // throw it only once
    if (failure) reject(failure.error);
    else resolve({ value: undefined, done: true });
  }

  /** Removes the listener. Returns the counter's error, or undefined. */
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

  /** Resolves to the next count. If the signal is aborted, one call rejects with its reason; later calls are done. */
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

  /** Ends the iterator. @throws KernelError: an INTx interrupt could not be unmasked. */
  async return(): Promise<IteratorResult<bigint, undefined>> {
    const error = this.#state === 'listening' ? this.#leave() : undefined;
    this.#untaken = 0n;
    this.#failure = undefined;
    this.#finish(undefined, false);
    if (error !== undefined) throw error as Error;
    return Promise.resolve({ value: undefined, done: true });
  }

  /** Returns the iterator itself. */
  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Calls return(), for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }
}
