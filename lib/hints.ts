// What an errno means, for each call: one table. A hint is a text, or a function of the call's arguments that may have
// nothing to say. Sources: Linux's drivers/vfio, drivers/iommu/iommufd and drivers/dma-buf.

type Arguments = Readonly<Record<string, unknown>>;
type Hint = string | ((args: Arguments) => string | undefined);

const reservedIova =
  'the IOVA or length is not a multiple of the IOAS alignment, or the IOVAs are not all usable: ioas.iovaRanges() ' +
  'tells both, and they narrow with each attached device';

const mapHints: Record<string, Hint> = {
  EEXIST: 'something is mapped at these IOVAs already: unmap it, or leave iova out and let the kernel choose',
  ENOSPC: 'no hole in the IOAS is large enough for this length',
  ENOMEM: 'out of memory, or pinning went over RLIMIT_MEMLOCK (`ulimit -l`): raise it, or run with CAP_IPC_LOCK',
  EOVERFLOW: 'iova plus length does not fit 64 bits',
  ENOENT: 'the IOAS does not exist in this iommufd',
};

const table: Record<string, Record<string, Hint>> = {
  open: {
    ENOENT: ({ path }) =>
      path === '/dev/iommu'
        ? 'this kernel has no IOMMUFD (CONFIG_IOMMUFD), or its module is not loaded: `modprobe iommufd`'
        : path === '/dev/udmabuf'
          ? 'this kernel has no udmabuf driver (CONFIG_UDMABUF), or its module is not loaded: `modprobe udmabuf`'
          : 'there is no such file: a character device goes when its device leaves vfio-pci',
    EACCES: ({ path }) =>
      `this user may not open ${String(path)}: \`ls -l\` tells its owner and group; a udev rule can give it to another`,
    EBUSY: 'the device is in use by another process',
  },
  fcntl: {
    EBADF: 'not an open file descriptor',
    EMFILE: 'the process has as many open files as it may (`ulimit -n`)',
  },
  VFIO_DEVICE_BIND_IOMMUFD: {
    EINVAL:
      'the device is bound already, through this or another open of its character device, or has no IOMMU to protect it',
    EBADF: 'the iommufd is not an open file descriptor',
    EBADFD: 'the file descriptor is not an iommufd',
    EPERM: 'another device of the same IOMMU group belongs to somebody else',
    EBUSY: 'the device or its IOMMU group is in use: every device of the group must be bound to VFIO or to no driver',
    ENOTTY: 'this kernel has no VFIO device cdev with IOMMUFD (CONFIG_VFIO_DEVICE_CDEV)',
  },
  VFIO_DEVICE_ATTACH_IOMMUFD_PT: {
    EINVAL: 'the device is not bound to an iommufd, or the page table does not suit it',
    ENOENT: 'the IOAS or HWPT does not exist in the iommufd that the device is bound to',
    EADDRINUSE: 'the IOAS has mappings where the device cannot have any (its reserved regions or address width)',
    EBUSY: 'a device of the same IOMMU group is attached elsewhere',
  },
  VFIO_DEVICE_RESET: {
    EINVAL: 'the device has no reset method that would not disturb others (`reset_method` in sysfs), or is not bound',
    EAGAIN: 'the device is locked, or shares its bus with others: try again',
    ENOTTY: 'the device has no working reset method',
  },
  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: {
    ENODEV: 'neither the slot nor the bus of the device can be reset, as on a root complex: use reset()',
    EINVAL: 'the device is not bound to an iommufd: bind() first',
  },
  VFIO_DEVICE_PCI_HOT_RESET: {
    ENODEV: 'neither the slot nor the bus of the device can be reset, as on a root complex: use reset()',
    EINVAL: 'a device on the same bus belongs to somebody else: hotResetInfo() names it; or the device is not bound',
    EBUSY: 'a device on the same bus is being used by another thread or process: try again',
  },
  VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY: {
    EINVAL: 'the device is in low power already, or not bound to an iommufd: bind() first',
    ENOTTY: 'this device has no low power feature',
  },
  VFIO_DEVICE_FEATURE_LOW_POWER_EXIT: {
    EINVAL: 'the device is not bound to an iommufd: bind() first',
    ENOTTY: 'this device has no low power feature',
  },
  VFIO_DEVICE_GET_INFO: {
    EINVAL: 'the device is not bound to an iommufd: bind() first',
    ENOTTY: 'the file descriptor is not a VFIO device',
  },
  VFIO_DEVICE_GET_REGION_INFO: { EINVAL: 'no such region, or the device is not bound to an iommufd: bind() first' },
  VFIO_DEVICE_GET_IRQ_INFO: { EINVAL: 'no such interrupt index, or the device is not bound: bind() first' },
  VFIO_DEVICE_FEATURE_DMA_BUF: {
    ENOTTY:
      'this kernel has no VFIO DMA-BUF export: VFIO_DEVICE_FEATURE_DMA_BUF is there from Linux 6.19 on, with ' +
      'CONFIG_VFIO_PCI_DMABUF',
    EOPNOTSUPP: 'the driver that this device is bound to does not export dma-bufs; vfio-pci does',
    EINVAL:
      'every range must be page aligned, not empty and inside the BAR, and the BAR must be memory, not I/O ports; or ' +
      'the device is not bound',
    ENODEV: 'the region is not a BAR of this device: only regions 0 to 5 that exist can be exported',
    EOVERFLOW: 'offset plus length does not fit 64 bits',
    EMFILE: 'the process has as many open files as it may (`ulimit -n`)',
  },
  IOMMU_IOAS_ALLOC: { ENOTTY: 'the file descriptor is not an iommufd' },
  IOMMU_IOAS_MAP: {
    ...mapHints,
    EINVAL: reservedIova,
    EFAULT:
      "this memory cannot be pinned. A device's BAR cannot be mapped through its mmap: export it as a dma-buf and use " +
      'mapDmaBuf()',
  },
  IOMMU_IOAS_MAP_FILE: {
    ...mapHints,
    ENOTTY:
      'this kernel has no IOMMU_IOAS_MAP_FILE: it is there from Linux 6.13 on for memfds, and from 6.19 on for dma-bufs',
    EOPNOTSUPP: ({ ranges }) =>
      typeof ranges === 'number' && ranges > 1
        ? `the dma-buf has ${String(ranges)} ranges; IOMMUFD maps only single-range VFIO dma-bufs: export one per range`
        : 'IOMMUFD maps only dma-bufs that vfio-pci exported, and of those only such with a single range; host memory goes ' +
          'in with mapMemory()',
    ENODEV:
      'the dma-buf is revoked: its device has memory space off, is in low power, in reset, or closed. Switch memory on ' +
      '(device.command.memory = true) and map again',
    EINVAL: ({ exporter }) =>
      exporter === undefined
        ? `only memfds and dma-bufs can be mapped, and not past their end; or ${reservedIova}`
        : `the range reaches past the dma-buf's end; or ${reservedIova}`,
    EPERM: 'the file is not writable: ask for read access only',
    EBADF: 'not an open file descriptor',
    EFAULT: 'the pages cannot be pinned',
  },
  IOMMU_IOAS_COPY: {
    ...mapHints,
    ENOENT: 'nothing is mapped at these IOVAs of the source any more, or an IOAS does not exist in this iommufd',
    EINVAL: reservedIova,
    EPERM: 'the memory is mapped for reading only: ask for read access only',
  },
  IOMMU_IOAS_UNMAP: {
    ENOENT: 'nothing is mapped there, or the range cuts a mapping: whole mappings only',
    EBUSY: 'the mapping is in use by another object or being changed by another thread',
    EOVERFLOW: 'iova plus length does not fit 64 bits',
  },
  IOMMU_DESTROY: {
    EBUSY: 'the object is in use: a device is attached to it, or another object is built on it',
    ENOENT: 'the object is gone already',
  },
  DMA_BUF_IOCTL_SYNC: { ENOTTY: 'not a dma-buf', EINTR: 'a signal came in between: try again' },
  UDMABUF_CREATE: {
    EINVAL:
      "offset and size must be multiples of the page size and inside the memory, and the size within the driver's limit " +
      '(/sys/module/udmabuf/parameters/size_limit_mb)',
    EBADFD: 'not a memfd',
  },
  pread: {
    EIO: "the device's memory space is off, or the device does not answer",
    EINVAL: 'the region does not exist or ends before this offset, or the device is not bound: bind() first',
    EFAULT: 'past the end of config space',
  },
  pwrite: {
    EIO: "the device's memory space is off, or the device does not answer",
    EINVAL: 'the region does not exist or ends before this offset, or the device is not bound: bind() first',
    EFAULT: 'past the end of config space',
  },
  mmap: {
    EINVAL: 'this part of the region cannot be mapped: use read and write',
    ENOMEM: ({ hugePages }) =>
      typeof hugePages !== 'string'
        ? undefined
        : `not enough free huge pages of ${hugePages}B: reserve some in /sys/kernel/mm/hugepages`,
  },
  memfd_create: { ENODEV: 'this kernel has no huge pages of this size' },
};

/** @internal */
export function hintFor(call: string, code: string, args: Arguments): string | undefined {
  const hint = table[call]?.[code];
  return typeof hint === 'function' ? hint(args) : hint;
}
