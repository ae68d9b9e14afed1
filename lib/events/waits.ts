// Waits manages the promises that wait for an object's fd, and rejects them when the object is closed.
import { addAbortListener } from 'node:events';
import { setImmediate } from 'node:timers/promises';
import { codedError } from '../errors/errors';
import type { FdHandle } from '../addon/native';
import { Watch } from './poll';
import { instance, options } from '../errors/validate';

/** Options of calls that wait. */
export interface WaitOptions {
  /** Aborting it rejects the promise with the signal's reason. */
  signal?: AbortSignal;
}

/** @internal */
export function toSignal(opts: WaitOptions | undefined): AbortSignal | undefined {
  const { signal } = options(opts, ['signal']);
  return signal === undefined ? undefined : instance(signal, 'signal', AbortSignal);
}

/** @internal */
export class Waits {
  readonly #ends = new Set<(error: unknown) => void>();

  /** Resolves when one of `events` is ready. */
  async until(fd: FdHandle, events: number, signal: AbortSignal | undefined): Promise<void> {
    signal?.throwIfAborted();
    return new Promise<void>((resolve, reject) => {
      const end = () => {
        watch.close();
        this.#ends.delete(fail);
        signal?.removeEventListener('abort', abort);
      };
      const fail = (error: unknown) => {
        end();
        // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the reason is the caller's choice
        reject(error);
      };
      const abort = () => fail(signal?.reason);
      const watch = new Watch(fd, events, (ready) => {
        if ((ready & events) === 0) {
          fail(codedError('ERR_POLL', 'the kernel cannot tell when it is ready'));
          return;
        }
        end();
        resolve();
      });
      this.#ends.add(fail);
      signal?.addEventListener('abort', abort, { once: true });
    });
  }

  /** Rejects all pending promises. Calls `makeError` only if there are any: an error records a stack trace. */
  reject(makeError: () => unknown): void {
    if (this.#ends.size === 0) return;
    const error = makeError();
    for (const end of [...this.#ends]) end(error);
  }
}

/** Lets the event loop run from time to time in loops whose event may always be ready. @internal */
export class Turns {
  #taken = 0;

  /** Whether the next turn lets the event loop run. */
  get due(): boolean {
    return (this.#taken + 1) % 64 === 0;
  }

  /** Counts a turn without waiting. */
  count(): void {
    this.#taken += 1;
  }

  async take(): Promise<void> {
    const { due } = this;
    this.count();
    if (due) await setImmediate();
  }
}

/** Resolves or rejects like the promise, unless the signal is aborted first. @internal */
export async function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (!signal) return promise;
  let listening: Disposable | undefined;
  const aborted = new Promise<never>((_, reject) => {
    // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the reason is the caller's choice
    listening = addAbortListener(signal, () => reject(signal.reason));
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    listening?.[Symbol.dispose]();
  }
}
