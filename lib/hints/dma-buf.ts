// Errno hints for dma-bufs, heaps, udmabufs and fences: Linux's drivers/dma-buf.
import { overUdmabufLimits } from './causes/dma-buf';
import type { Hint, Hints } from './hint';

const noSyncFiles = 'this kernel cannot do that: it is there from Linux 6.0 on, with CONFIG_SYNC_FILE';

const udmabufHints: Record<string, Hint> = {
  EINVAL: [
    overUdmabufLimits,
    "offset and size must be multiples of the page size and inside the memory, the sizes not 0 and within the driver's " +
      'limit (/sys/module/udmabuf/parameters/size_limit_mb), and the memory sealed against shrinking (F_SEAL_SHRINK), ' +
      'not against writing (F_SEAL_WRITE, F_SEAL_FUTURE_WRITE)',
  ],
  EBADFD: 'not an open file descriptor, or not of a memfd',
  ENOMEM: 'the memory, which is taken now and kept, is more than there is',
};

export const dmaBufHints: Hints = {
  DMA_BUF_IOCTL_SYNC: { EINVAL: 'neither a read nor a write, or an end without a begin' },
  DMA_BUF_SET_NAME: { EINVAL: 'the name is longer than 31 bytes' },
  DMA_BUF_IOCTL_EXPORT_SYNC_FILE: { ENOTTY: noSyncFiles, EINVAL: 'neither for reading nor for writing' },
  DMA_BUF_IOCTL_IMPORT_SYNC_FILE: { ENOTTY: noSyncFiles, EINVAL: 'the fd is not a sync file' },
  DMA_HEAP_IOCTL_ALLOC: {
    ENOMEM:
      'the heap has not so much memory left: the system heap takes it page by page, others from what was reserved',
    EINVAL: 'the size is 0 or does not fit, or this kernel knows no such flags',
    ENOTTY: 'the file is not a dma-heap',
  },
  'DMA_*': { ENOTTY: 'the file descriptor is not a dma-buf, or this kernel does not have this call' },
  UDMABUF_CREATE: udmabufHints,
  UDMABUF_CREATE_LIST: udmabufHints,
  'UDMABUF_*': { ENOTTY: 'this kernel does not have this call, or the file is not /dev/udmabuf' },
  SYNC_IOC_MERGE: { ENOENT: 'the other file is not a sync file' },
  SYNC_IOC_SET_DEADLINE: { ENOTTY: 'this kernel takes no deadlines: they are there from Linux 6.6 on' },
  'SYNC_*': {
    ENOTTY: 'the file descriptor is not a sync file, or this kernel does not have this call',
    EINVAL: 'this kernel does not know what is asked for',
  },
  'SW_*': {
    ENOTTY: 'the file is not sw_sync, or this kernel does not have this call',
    EINVAL: 'not a sync file with a single fence of a sw_sync timeline',
  },
};
