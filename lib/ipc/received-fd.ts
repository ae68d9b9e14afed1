// A file descriptor of another process's.
import { toKernel } from '../kernel/default-kernel';
import { kernelCall } from '../errors/errors';
import type { Kernel } from '../kernel/kernel';
import { Closable } from '../lifetime/closable';
import type { End } from '../lifetime/lifetime';
import { native, type FdHandle } from '../addon/native';
import { integer, options } from '../errors/validate';

/**
 * A file descriptor that came over an {@link FdChannel}, or was taken from a process. It is this object's until it is closed:
 * what makes something of it, as `DmaBuf.fromFd(received.fd)`, duplicates it.
 */
export class ReceivedFd extends Closable {
  readonly #handle: FdHandle;

  static readonly #end: End<ReceivedFd> = {
    what: 'received fd',
    close: (received) => native.fdClose(received.#handle, false),
  };

  /** @internal */
  constructor(handle: FdHandle) {
    super(ReceivedFd.#end);
    this.#handle = handle;
  }

  /**
   * A duplicate of what another process has open, without its help (pidfd_getfd(2), Linux 5.6).
   *
   * @param pid of a process that this one may trace: of the same user, or with CAP_SYS_PTRACE; Yama may want more
   *   (/proc/sys/kernel/yama/ptrace_scope)
   * @param fd its number there
   * @throws KernelError ESRCH, EPERM; EBADF: it has no such fd. RangeError ERR_OUT_OF_RANGE.
   */
  static fromProcess(pid: number, fd: number, opts?: { kernel?: Kernel }): ReceivedFd {
    const kernel = toKernel(options(opts).kernel);
    const process = integer(pid, 'pid', 1, 0x7fff_ffff);
    const number = integer(fd, 'fd', 0, 0x7fff_ffff);
    return new ReceivedFd(kernelCall({ pid, fd }, () => native.pidfdGetfd(kernel.handle, process, number)));
  }

  /** Its number in this process, with close-on-exec set. @throws Error ERR_CLOSED */
  get fd(): number {
    this.check();
    return native.fdNumber(this.#handle);
  }
}
