// Errno hints for IOMMUFD: Linux's drivers/iommu/iommufd.
import {
  badPlacement,
  noRoom,
  notImportable,
  notWhole,
  overLimit,
  overLimitAtAttach,
  revoked,
  taken,
  tooFar,
} from './causes/map';
import type { Hint, Hints } from './hint';

const mapHints: Record<string, Hint> = {
  EINVAL: [
    badPlacement,
    'the IOVA, offset or length is not a multiple of the IOAS alignment, or the IOVAs are not all usable, which ' +
      'ioas.iovaRanges() tells; or the file is no memfd or ends before',
  ],
  EEXIST: [taken, 'something is mapped at these IOVAs already: unmap it, or leave iova out and let the kernel choose'],
  ENOSPC: [noRoom, 'no hole in the IOAS is large enough for this length'],
  ENOMEM: [overLimit, 'out of memory, or pinning went over RLIMIT_MEMLOCK (`ulimit -l`)'],
  EOVERFLOW: [tooFar, 'iova plus length, or offset plus length, does not fit 64 bits'],
  ENOENT: 'the IOAS does not exist in this iommufd',
};

export const iommufdHints: Hints = {
  IOMMU_IOAS_MAP: {
    ...mapHints,
    EFAULT:
      "this memory cannot be pinned. A device's BAR cannot be mapped through its mmap: export it as a dma-buf and use " +
      'mapDmaBuf()',
  },
  IOMMU_IOAS_MAP_FILE: {
    ...mapHints,
    ENOTTY:
      'this kernel has no IOMMU_IOAS_MAP_FILE: it is there from Linux 6.13 on for memfds, and from 6.19 on for dma-bufs',
    EOPNOTSUPP: [
      notImportable,
      'IOMMUFD maps only dma-bufs that vfio-pci exported, and of those only such with a single range; host memory goes ' +
        'in with mapMemory()',
    ],
    ENODEV: [
      revoked,
      'the dma-buf is revoked: its device has memory space off, is in low power, in reset, or closed. Switch memory on ' +
        '(device.command.memory = true) and map again; after a close, export anew',
    ],
    EBADF: 'not an open file descriptor',
    EFAULT: 'a page of the file cannot be pinned',
  },
  IOMMU_IOAS_UNMAP: {
    ENOENT: [notWhole, 'nothing is mapped there, or the range cuts a mapping: whole mappings only'],
    EINVAL: 'the length is 0',
    EBUSY: 'the mapping is in use by another object (a hardware queue) or being changed by another thread',
    EOVERFLOW: 'iova plus length does not fit 64 bits',
  },
  IOMMU_IOAS_IOVA_RANGES: {
    EMSGSIZE: 'there are more ranges than were asked for: devices are being attached at this moment. Ask again',
  },
  IOMMU_IOAS_COPY: {
    ...mapHints,
    ENOENT: 'nothing is mapped at these IOVAs of the source any more, or there is no such IOAS',
    EPERM: 'the memory is mapped for reading only: ask for read access only',
    EFAULT: 'a page of what is mapped there cannot be pinned',
  },
  IOMMU_IOAS_CHANGE_PROCESS: {
    EINVAL: 'only mappings of memfds can change hands: the iommufd has others, of dma-bufs or by address',
  },
  IOMMU_IOAS_ALLOW_IOVAS: {
    EADDRINUSE: 'some of these IOVAs are not usable: ioas.iovaRanges() tells which are',
    EINVAL: 'two of the ranges overlap, or one has less than two bytes',
  },
  IOMMU_IOAS_NOIOMMU_GET_PA: {
    EOPNOTSUPP:
      'only devices without an IOMMU need bus addresses: this one has one, or the kernel no noiommu mode (CONFIG_VFIO_NOIOMMU)',
    EPERM: 'bus addresses are told to a process with CAP_SYS_RAWIO only',
    ENOENT: 'nothing is mapped at this IOVA, or there is no such IOAS',
    EINVAL: 'the dma-buf that is mapped there is revoked',
    ENOTTY: 'this kernel does not tell bus addresses: IOMMU_IOAS_NOIOMMU_GET_PA is new in Linux 7',
  },
  IOMMU_OPTION: {
    EPERM: 'how pinned memory is charged is chosen by a process with CAP_SYS_RESOURCE only',
    EBUSY:
      'how pinned memory is charged is chosen while the iommufd is empty: before allocIoas() and before a device is bound',
    EINVAL:
      'large pages are switched off before the first mapping is in use: something is mapped, and a device is attached',
    EADDRINUSE: 'a mapping is not in whole pages, which it must be without large pages',
  },
  IOMMU_HWPT_ALLOC: {
    EOPNOTSUPP:
      "the device's IOMMU cannot do what is asked (iommufd.hwInfo() tells what it is), or takes no data of this type",
    EINVAL:
      'the data are too short or too long for their type; or the parent is no nesting parent, or of another IOMMU; or a file ' +
      'that is mapped cannot be pinned',
    EADDRINUSE:
      'a mapping of the IOAS lies where this IOMMU can have none: beyond its address width, or not aligned to its page',
    ENOENT: 'the device is not bound to this iommufd any more, or the fault queue is gone',
    ENOMEM: [overLimitAtAttach, 'out of memory, or pinning what is mapped went over RLIMIT_MEMLOCK (`ulimit -l`)'],
    EFAULT: 'memory that is mapped in the IOAS can no longer be pinned: this process has unmapped it since',
  },
  IOMMU_HWPT_SET_DIRTY_TRACKING: {
    EOPNOTSUPP: 'the page table was made without dirty tracking: ioas.allocHwpt(device, { dirtyTracking: true })',
    ENOENT: 'a nested page table has no dirty pages: ask the one it is nested in',
  },
  IOMMU_HWPT_GET_DIRTY_BITMAP: {
    EOPNOTSUPP: 'the page table was made without dirty tracking: ioas.allocHwpt(device, { dirtyTracking: true })',
    ENOENT: 'a nested page table has no dirty pages: ask the one it is nested in',
    EINVAL: "iova and length must be multiples of the page size and of the IOAS's alignment",
    EOVERFLOW: 'iova plus length does not fit 64 bits',
  },
  IOMMU_HWPT_INVALIDATE: {
    EINVAL: 'not a nested page table; or an entry, or the type of the entries, does not suit its IOMMU',
    EOPNOTSUPP: 'the IOMMU does not know a flag of the entry, or forgets nothing by request',
  },
  IOMMU_VIOMMU_ALLOC: {
    EOPNOTSUPP: "the device's IOMMU has no virtual ones, or not of this type",
    EINVAL:
      'the page table is no nesting parent: ioas.allocHwpt(device, { nestParent: true }); or the data are too short or too long',
    ENOENT: 'the device is not bound to this iommufd any more',
  },
  IOMMU_VDEVICE_ALLOC: {
    EEXIST: 'the device is a virtual one already, or the virtual IOMMU has another one by this number',
    EINVAL: 'the device is behind another IOMMU than the virtual one',
    ENOENT: 'the device is not bound to this iommufd any more',
  },
  IOMMU_HW_QUEUE_ALLOC: {
    EOPNOTSUPP: 'the virtual IOMMU has no queues of this type in hardware',
    ENOENT: 'the memory of the queue is not mapped, all of it, in the IOAS of the nesting parent',
    EFAULT: 'the pages of the queue must follow each other in physical memory: back it with one huge page',
    EEXIST: 'the virtual IOMMU has a queue by this index',
    EIO: 'the queues are made in ascending order of their index',
    EINVAL: 'the IOMMU has no queue by this index, or takes no queue of this length or place',
    EOVERFLOW: 'iova plus length does not fit 64 bits',
  },
  IOMMU_VEVENTQ_ALLOC: { EEXIST: 'the virtual IOMMU has a queue of this type: one is all it can have' },
  IOMMU_GET_HW_INFO: {
    EOPNOTSUPP: "the device's IOMMU is not of this type: leave the type out to see which it is",
    ENOENT: 'the device is not bound to this iommufd any more',
  },
  IOMMU_IOAS_ALLOC: { ENOTTY: 'the file descriptor is not an iommufd' },
  IOMMU_DESTROY: {
    EBUSY: 'the object is in use: a device is attached to it, or another object is built on it',
    ENOENT: 'the object is gone already',
  },
  'IOMMU_*': {
    ENOTTY: 'this kernel does not have this call, or the file descriptor is not an iommufd',
    E2BIG: 'the call asks for more than this kernel knows',
    EOPNOTSUPP: 'this kernel or this IOMMU knows the call, but not what it asks for',
    EINVAL: 'an argument does not suit the object or this IOMMU',
    ENOENT: 'there is no object of this number and kind in the iommufd',
    EOVERFLOW: 'a range does not fit 64 bits',
    EBUSY: 'the object is in use by another one',
  },
};
