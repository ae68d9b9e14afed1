// Eventfd wraps an eventfd(2): a counter that processes and the kernel signal.
import { shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import { Counter, Counts, type ListenOptions } from './counter';
import { toKernel } from '../kernel/default-kernel';
import { explain, kernelCall } from '../errors/errors';
import type { Kernel } from '../kernel/kernel';
import { Closable } from '../lifetime/closable';
import type { End } from '../lifetime/lifetime';
import { native, type FdHandle } from '../addon/native';
import { integer, invalidValue, options, u64 } from '../errors/validate';

const most = 0xffff_ffff_ffff_fffen;

/**
 * An eventfd: a counter that this process, other processes and the kernel can add to and read. VFIO signals an eventfd
 * for each interrupt, KVM injects an interrupt into the guest for one (irqfd), and VFIO writes to a device's register
 * for one (ioeventfd).
 */
export class Eventfd extends Closable {
  readonly #fd: FdHandle;
  readonly #counter: Counter;
  #functions: ReturnType<typeof native.eventfdHot> | undefined;

  static readonly #end: End<Eventfd> = {
    what: 'eventfd',
    close: (eventfd) => {
      eventfd.#counter.end();
      native.fdClose(eventfd.#fd, false);
    },
  };

  static {
    shown(this, 'closed', 'fd');
  }

  private constructor(made: Key, fd: FdHandle) {
    onlyInside(made, 'Eventfd', 'use Eventfd.create() or Eventfd.fromFd()');
    super(Eventfd.#end);
    this.#fd = fd;
    this.#counter = new Counter(fd);
  }

  /** Creates a non-blocking eventfd (eventfd(2)). @param opts `count`: the initial count, less than 2^32 */
  static create(opts?: { kernel?: Kernel; count?: number }): Eventfd {
    const { kernel, count = 0 } = options(opts, ['kernel', 'count']);
    const { handle } = toKernel(kernel);
    const start = integer(count, 'count', 0, 0xffff_ffff);
    return new Eventfd(
      key,
      kernelCall({}, () => native.fdEventfd(handle, start)),
    );
  }

  /**
   * Creates an object for an existing eventfd. The fd is duplicated: the caller still owns and closes its own.
   *
   * @throws TypeError ERR_INVALID_ARG_VALUE: not an eventfd. KernelError EBADF.
   */
  static fromFd(fd: number, opts?: { kernel?: Kernel }): Eventfd {
    const number = integer(fd, 'fd', 0, 0x7fff_ffff);
    const { handle } = toKernel(options(opts, ['kernel']).kernel);
    const own = kernelCall({ fd: number }, () => native.fdDuplicate(handle, number));
    try {
      const path = kernelCall({ fd: number }, () => native.fdPath(own));
      if (path !== 'anon_inode:[eventfd]') throw invalidValue('fd', 'an eventfd', number);
      return new Eventfd(key, own);
    } catch (error) {
      native.fdSetForeign(own);
      native.fdClose(own, false);
      throw error;
    }
  }

  get #handle(): FdHandle {
    this.check();
    return this.#fd;
  }

  /** The native functions of this eventfd. */
  get #hot(): ReturnType<typeof native.eventfdHot> {
    this.check();
    return (this.#functions ??= native.eventfdHot(this.#fd));
  }

  /** The file descriptor, for example to send to another process. This object owns it: do not close it. */
  get fd(): number {
    return native.fdNumber(this.#handle);
  }

  /**
   * Adds `count` to the counter: 1 to 2^64 - 2. Default: 1. @throws KernelError EAGAIN: the sum would exceed 2^64 - 2.
   */
  signal(count: number | bigint = 1n): void {
    const added = u64(count, 'count', 1n, most);
    const { add } = this.#hot;
    try {
      add(added);
    } catch (error) {
      throw explain(error, {});
    }
  }

  /** Returns the count and resets it to 0. Returns 0n without waiting if the count is 0. */
  take(): bigint {
    const { take } = this.#hot;
    try {
      const count = take();
      const kept = this.#counter.takeKept();
      return kept === 0n ? count : count + kept;
    } catch (error) {
      throw explain(error, {});
    }
  }

  /**
   * Iterates over the counts, using the event loop. If there are several listeners, each receives all counts. The
   * iterator ends when this object is closed.
   *
   * @throws from the iterator: the signal's reason.
   */
  listen(opts?: ListenOptions): Counts {
    this.check();
    return new Counts(key, this.#counter, opts);
  }

  /** Makes pending iterators of {@link listen} keep the process alive. This is the default. */
  ref(): this {
    this.#counter.keepAlive(true);
    return this;
  }

  /** Makes pending iterators of {@link listen} not keep the process alive. */
  unref(): this {
    this.#counter.keepAlive(false);
    return this;
  }

  /** Closes the fd. Other owners of the eventfd, for example the kernel for a device's interrupt, keep theirs. */
  override close(): void {
    super.close();
  }
}
