// A file descriptor that another process has sent.
import { closedError } from '../errors';
import { expectClose, wasClosed } from '../lost';
import { native, type FdHandle } from '../native';

/**
 * A file descriptor that came over an {@link FdChannel}. It is this object's until it is closed: what makes something of
 * it, as `DmaBuf.fromFd(received.fd)`, duplicates it.
 */
export class ReceivedFd {
  readonly #handle: FdHandle;
  #closed = false;

  /** @internal */
  constructor(handle: FdHandle) {
    this.#handle = handle;
    expectClose(this, 'received fd');
  }

  /** Its number in this process, with close-on-exec set. @throws Error ERR_CLOSED */
  get fd(): number {
    if (this.#closed) throw closedError('received fd');
    return native.fdNumber(this.#handle);
  }

  /** Whether close() was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Closes it. Again is no error. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    wasClosed(this);
    native.fdClose(this.#handle, false);
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}
