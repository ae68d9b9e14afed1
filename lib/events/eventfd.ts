// Eventfds: counters that processes and the kernel signal.
import { Counter, Counts, type ListenOptions } from './counter';
import { toKernel } from '../kernel/default-kernel';
import { kernelCall } from '../errors/errors';
import type { Kernel } from '../kernel/kernel';
import { Closable } from '../lifetime/closable';
import type { End } from '../lifetime/lifetime';
import { native, type FdHandle } from '../addon/native';
import { integer, invalidValue, options, u64 } from '../errors/validate';

const most = 0xffff_ffff_ffff_fffen;

/**
 * An eventfd: a number that is added to and taken, by this process, others, and the kernel. VFIO signals one for each
 * interrupt, KVM takes one as an interrupt of its guest (irqfd), and a device's ioeventfd waits for one.
 */
export class Eventfd extends Closable {
  readonly #fd: FdHandle;
  readonly #counter: Counter;

  static readonly #end: End<Eventfd> = {
    what: 'eventfd',
    close: (eventfd) => {
      eventfd.#counter.end();
      native.fdClose(eventfd.#fd, false);
    },
  };

  private constructor(fd: FdHandle) {
    super(Eventfd.#end);
    this.#fd = fd;
    this.#counter = new Counter(fd);
  }

  /** A new one (eventfd(2)), which does not block. @param opts `count`: what it starts with, less than 2^32 */
  static create(opts?: { kernel?: Kernel; count?: number }): Eventfd {
    const { kernel, count = 0 } = options(opts);
    const { handle } = toKernel(kernel);
    const start = integer(count, 'count', 0, 0xffff_ffff);
    return new Eventfd(kernelCall({}, () => native.fdEventfd(handle, start)));
  }

  /**
   * One that was handed over, by the number of its fd. It is duplicated: the caller's own stays open and the caller's.
   *
   * @throws TypeError ERR_INVALID_ARG_VALUE: not an eventfd. KernelError EBADF.
   */
  static fromFd(fd: number, opts?: { kernel?: Kernel }): Eventfd {
    const number = integer(fd, 'fd', 0, 0x7fff_ffff);
    const { handle } = toKernel(options(opts).kernel);
    const own = kernelCall({ fd: number }, () => native.fdDuplicate(handle, number));
    try {
      const path = kernelCall({ fd: number }, () => native.fdPath(own));
      if (path !== 'anon_inode:[eventfd]') throw invalidValue('fd', 'an eventfd', number);
      return new Eventfd(own);
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

  /** The file descriptor, to hand on. It stays this object's: do not close it. */
  get fd(): number {
    return native.fdNumber(this.#handle);
  }

  /** Adds to the count: 1 unless told, up to 2^64 - 2. @throws KernelError EAGAIN: the sum would be more. */
  signal(count: number | bigint = 1n): void {
    const added = u64(count, 'count', 1n, most);
    kernelCall({}, () => native.eventfdAdd(this.#handle, added));
  }

  /** The count, which is 0 from then on; 0n at once if it was. */
  take(): bigint {
    const count = kernelCall({}, () => native.eventfdTake(this.#handle));
    return count + this.#counter.takeKept();
  }

  /**
   * The counts as they come, through the event loop. Several listeners each get all. It ends when this object is closed.
   *
   * @throws from the iterator: the signal's reason.
   */
  listen(opts?: ListenOptions): Counts {
    this.check();
    return new Counts(this.#counter, opts);
  }

  /** Waiting in {@link listen} keeps the process alive: so it is at first. */
  ref(): this {
    this.#counter.keepAlive(true);
    return this;
  }

  /** Waiting in {@link listen} does not keep the process alive. */
  unref(): this {
    this.#counter.keepAlive(false);
    return this;
  }

  /** Closes the fd. Who else has the eventfd, as the kernel for a device's interrupt, keeps it. */
  override close(): void {
    super.close();
  }
}
