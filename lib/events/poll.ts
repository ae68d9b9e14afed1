// Waits for an fd in the event loop, without blocking a thread of the pool.
import { kernelCall } from '../errors/errors';
import { native, type FdHandle, type PollHandle } from '../addon/native';

/** The events of poll(2). `error` and `hangUp` are always reported. @internal */
export const pollEvents = { readable: 1, priority: 2, writable: 4, error: 8, hangUp: 16 } as const;

/**
 * Watches an fd (level-triggered). The listener is called repeatedly while events are ready, so it must consume them or
 * close the watch. A watch keeps the process alive, like Node's own, unless {@link Watch.unref} was called. It exists
 * until it is closed. @internal
 */
export class Watch {
  readonly #poll: PollHandle;
  #keepsAlive = true;

  constructor(...watched: [fd: FdHandle, events: number, listener: (ready: number) => void] | [poll: PollHandle]) {
    if (watched.length === 1) {
      [this.#poll] = watched;
    } else {
      const [fd, events, listener] = watched;
      this.#poll = kernelCall({}, () => native.pollStart(fd, events, listener, false));
    }
  }

  /** Watches an eventfd and takes its counts. The listener gets each count, or 0n if it cannot be read. */
  static ofCounts(fd: FdHandle, listener: (count: bigint) => void): Watch {
    return new Watch(kernelCall({}, () => native.pollStart(fd, pollEvents.readable, listener, true)));
  }

  ref(): void {
    this.keepAlive(true);
  }

  unref(): void {
    this.keepAlive(false);
  }

  keepAlive(on: boolean): void {
    if (on === this.#keepsAlive) return;
    this.#keepsAlive = on;
    native.pollRef(this.#poll, on);
  }

  /** Stops the watch. The listener is not called again. */
  close(): void {
    native.pollClose(this.#poll);
  }
}

/**
 * Resolves to the ready events when one of `events` is ready.
 *
 * @throws the signal's reason, when it is aborted. @internal
 */
export async function ready(fd: FdHandle, events: number, signal?: AbortSignal): Promise<number> {
  signal?.throwIfAborted();
  return new Promise<number>((resolve, reject) => {
    const end = () => {
      watch.close();
      signal?.removeEventListener('abort', abort);
    };
    const abort = () => {
      end();
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the reason is the caller's choice
      reject(signal?.reason);
    };
    const watch = new Watch(fd, events, (ready) => {
      end();
      resolve(ready);
    });
    signal?.addEventListener('abort', abort, { once: true });
  });
}
