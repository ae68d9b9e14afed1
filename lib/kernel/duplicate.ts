// Duplicates file descriptors that a program passes by their number.
import { codedError, kernelCall } from '../errors/errors';
import { native, type FdHandle } from '../addon/native';
import type { Kernel } from './kernel';

/** The link in /proc/self/fd of a fake kernel's file. Its own kernel answers with a path of the real kernel instead. */
const otherFake = '/memfd:fake-kernel:';

/**
 * Duplicates an fd of this process.
 *
 * @throws KernelError EBADF: not an open fd. Error ERR_OTHER_KERNEL: it is a file of another fake kernel, for example of
 *   another process. Only the kernel that made it can do more with it than with any empty file.
 * @internal
 */
export function duplicate(kernel: Kernel, fd: number): FdHandle {
  const handle = kernelCall({ fd }, () => native.fdDuplicate(kernel.handle, fd));
  try {
    if (!kernelCall({ fd }, () => native.fdPath(handle)).startsWith(otherFake)) return handle;
    throw codedError(
      'ERR_OTHER_KERNEL',
      `fd ${String(fd)} is a file of another fake kernel. Each process with VFIO_DMABUF_KERNEL=fake has a fake kernel of ` +
        'its own, and only the threads of one process can share one (FakeKernel.attach()): on fake kernels, run both ends ' +
        'in one process',
    );
  } catch (error) {
    native.fdSetForeign(handle);
    native.fdClose(handle, false);
    throw error;
  }
}
