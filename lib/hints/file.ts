// Errno hints for system calls on any file.
import { bufferNotMapped } from './causes/dma-buf';
import { reservedBar } from './causes/export';
import type { Look } from '../errors/around';
import { noHugePages } from './causes/map';
import { noPermission, noSuchFile } from './causes/open';
import { notBound, type Hint, type Hints } from './hint';

/** The cause of EINVAL from a response to page requests. */
const answered: Look = ({ pageRequestCookie }) =>
  pageRequestCookie === undefined
    ? undefined
    : 'the page requests were answered already, or their device was detached since: the kernel answered then';

const accessHints: Record<string, Hint> = {
  EIO: "the device's memory space is off, it is in low power, or it does not wake up",
  EINVAL: `the region does not exist or ends before this offset, or a ROM was to be written; or ${notBound}`,
  EFAULT: 'past the end of config space, or where a mediated device has nothing',
  ENOMEM: 'the region cannot be reserved or mapped by the kernel',
  EBUSY: [reservedBar, "the BAR is reserved by another driver, such as the firmware's frame buffer"],
};

export const fileHints: Hints = {
  open: {
    ENOENT: [noSuchFile, 'there is no such file'],
    EACCES: [noPermission, 'this user may not open the file'],
    EPERM:
      'the file system or a container forbids devices (`docker run --device` allows one); a noiommu device wants CAP_SYS_RAWIO',
    EBUSY:
      'a VFIO group (/dev/vfio/N) can be open once, and not while a device of it is bound through its character device: ' +
      'this process or another has one of them',
    ENODEV: 'no driver answers for this file: its module is not loaded, or the device is just leaving VFIO',
    ENXIO: 'no driver answers for this file',
  },
  lseek: { EINVAL: "a dma-buf's size is asked with SEEK_END and 0 alone" },
  read: {
    ENODEV: 'this save is over: the device was reset, or has left the states that save',
    EBADF: 'data to resume cannot be read',
    EINVAL: 'this save is over, and the position behind its end',
  },
  write: {
    EAGAIN: 'the count of the eventfd would be more than 2^64 - 2: take() it first',
    EFAULT: 'this is not what a device of this kind has saved',
    EINVAL: [answered, 'this is not what a device of this kind has saved'],
    ENOMEM: 'out of memory, or this is more than a device of this kind has saved',
    ENODEV: "this is over: the device was reset, or is not in 'resuming' any more",
    EBADF: 'data of a save cannot be written',
  },
  pread: accessHints,
  pwrite: accessHints,
  mmap: {
    EINVAL: [bufferNotMapped, `this part of the region cannot be mapped: use read and write; or ${notBound}`],
    EACCES: 'the file descriptor was not made for this access: a dma-buf keeps what its exporter was asked for',
    EBUSY: [reservedBar, "the BAR is reserved by another driver, such as the firmware's frame buffer"],
    ENOMEM: [noHugePages, 'no address space left: RLIMIT_AS, or more mappings than /proc/sys/vm/max_map_count'],
  },
  fcntl: {
    EBUSY: 'the memory is mapped for writing, or in use by a device or a dma-buf: it cannot be sealed against writing',
    EPERM: 'the memory is sealed against sealing, or the file descriptor is read-only',
  },
  epoll_ctl: { EPERM: 'this file never says when it is ready: it cannot be waited for' },
  memfd_create: { ENODEV: 'this kernel has no huge pages of this size' },
  '*': {
    EBADF: 'not an open file descriptor',
    EMFILE: 'the process has as many open files as it may (`ulimit -n`)',
    ENFILE: 'the system has as many open files as it may (/proc/sys/fs/file-max)',
    ENOMEM: 'the kernel, or the memory cgroup of this process, has no memory left',
    EINTR: 'a signal came in between: try again',
  },
};
