// ReceivedFd owns a file descriptor that came from another process.
import { shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import { toKernel } from '../kernel/default-kernel';
import { kernelCall } from '../errors/errors';
import type { Kernel } from '../kernel/kernel';
import { Closable } from '../lifetime/closable';
import type { End } from '../lifetime/lifetime';
import { native, type FdHandle } from '../addon/native';
import { integer, options } from '../errors/validate';

/**
 * A file descriptor that was received over an {@link FdChannel} or duplicated from another process. This object owns it
 * until it is closed. Functions that create an object from it, for example `DmaBuf.fromFd(received.fd)`, duplicate it.
 */
export class ReceivedFd extends Closable {
  readonly #handle: FdHandle;

  static readonly #end: End<ReceivedFd> = {
    what: 'received fd',
    close: (received) => native.fdClose(received.#handle, false),
  };

  static {
    shown(this, 'closed', 'fd');
  }

  /** @internal */
  constructor(made: Key, handle: FdHandle) {
    onlyInside(made, 'ReceivedFd', 'use FdChannel#receive() or ReceivedFd.fromProcess()');
    super(ReceivedFd.#end);
    this.#handle = handle;
  }

  /**
   * Duplicates a file descriptor of another process without its cooperation (pidfd_getfd(2), Linux 5.6).
   *
   * @param pid the process. This process must have permission to trace it: the same user or CAP_SYS_PTRACE, and Yama
   *   may restrict it further (/proc/sys/kernel/yama/ptrace_scope)
   * @param fd the descriptor's number in that process
   * @throws KernelError ESRCH: no such process. EPERM: no permission to trace it. EBADF: it has no such fd. RangeError
   *   ERR_OUT_OF_RANGE.
   */
  static fromProcess(pid: number, fd: number, opts?: { kernel?: Kernel }): ReceivedFd {
    const kernel = toKernel(options(opts, ['kernel']).kernel);
    const process = integer(pid, 'pid', 1, 0x7fff_ffff);
    const number = integer(fd, 'fd', 0, 0x7fff_ffff);
    return new ReceivedFd(
      key,
      kernelCall({ pid, fd }, () => native.pidfdGetfd(kernel.handle, process, number)),
    );
  }

  /** The descriptor's number in this process. Close-on-exec is set. @throws Error ERR_CLOSED */
  get fd(): number {
    this.check();
    return native.fdNumber(this.#handle);
  }
}
