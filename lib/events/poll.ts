// Waiting for an fd through the event loop: no thread of the pool is blocked.
import { kernelCall } from '../errors/errors';
import { native, type FdHandle, type PollHandle } from '../addon/native';

/** poll(2)'s events. `error` and `hangUp` are told without being asked for. @internal */
export const pollEvents = { readable: 1, priority: 2, writable: 4, error: 8, hangUp: 16 } as const;

/**
 * Watches an fd. The listener is called with the events that are ready, again and again while they are: it takes what makes
 * them so, or closes the watch. A watch keeps the process alive, as Node's own do, unless {@link Watch.unref} was called; it
 * lives until it is closed. @internal
 */
export class Watch {
  readonly #poll: PollHandle;

  constructor(fd: FdHandle, events: number, listener: (ready: number) => void) {
    this.#poll = kernelCall({}, () => native.pollStart(fd, events, listener));
  }

  ref(): void {
    native.pollRef(this.#poll, true);
  }

  unref(): void {
    native.pollRef(this.#poll, false);
  }

  /** The listener is not called any more. */
  close(): void {
    native.pollClose(this.#poll);
  }
}

/**
 * Resolves with the events that are ready once one of `events` is.
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
