// What an errno means, for each call: one table. Sources: Linux's drivers/vfio, drivers/iommu/iommufd, drivers/dma-buf.
import { bufferNotMapped, overUdmabufLimits } from './causes/dma-buf';
import { badRange, noBar } from './causes/export';
import { boundAlready, groupNotFree, groupNotViable, groupOpen, notAttachable } from './causes/iommu-group';
import { refusedInterrupts } from './causes/interrupts';
import { attempt, type Arguments, type Around, type Look } from './causes/look';
import {
  badPlacement,
  badPlacementInContainer,
  inTheWay,
  noHugePages,
  noIommuSet,
  noRoom,
  notImportable,
  notWhole,
  notWholeInContainer,
  overLimit,
  overLimitAtAttach,
  overLimitInContainer,
  revoked,
  taken,
  tooFar,
} from './causes/map';
import { noWay } from './causes/migration';
import { noPermission, noSuchFile } from './causes/open';
import { wantsToken } from './causes/vf-token';

/** What is always true; or a look for the very cause, and what is true where nothing is seen. */
type Hint = string | readonly [look: Look, otherwise: string];

const noHotReset = 'neither the slot nor the bus of the device can be reset, as on a root complex: use reset()';
const notBound = 'the device is not bound to an iommufd: bind() first';

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

const noMigration =
  "the device cannot be migrated: its driver (`driver` in the device's sysfs folder) has no part for it";
const noLog = 'the device keeps no log of its DMA: the IOMMU may track dirty pages instead';

/** EINVAL at the response to page requests. */
const answered: Look = ({ pageRequestCookie }) =>
  pageRequestCookie === undefined
    ? undefined
    : 'the page requests were answered already, or their device was detached since: the kernel answered then';

const accessHints: Record<string, Hint> = {
  EIO: "the device's memory space is off, it is in low power, or it does not wake up",
  EINVAL: `the region does not exist or ends before this offset, or a ROM was to be written; or ${notBound}`,
  EFAULT: 'past the end of config space, or where a mediated device has nothing',
  ENOMEM: 'the region cannot be reserved or mapped by the kernel',
  EBUSY: "the BAR is reserved by another driver, such as the firmware's frame buffer",
};

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

/** By call, then by errno. 'IOMMU_*' is for every ioctl whose name starts so, '*' for every call. */
export const hints: Readonly<Record<string, Readonly<Record<string, Hint>>>> = {
  open: {
    ENOENT: [noSuchFile, 'there is no such file'],
    EACCES: [noPermission, 'this user may not open the file'],
    EPERM:
      'the file system or a container forbids devices (`docker run --device` allows one); a noiommu device wants CAP_SYS_RAWIO',
    EBUSY:
      'a VFIO group (/dev/vfio/N) can be open once, and not while a device of it is bound through its character device: ' +
      'this process or another has one of them',
    ENODEV: 'no driver answers for this file: its module is not loaded, or the device is just leaving vfio-pci',
    ENXIO: 'no driver answers for this file',
  },
  VFIO_DEVICE_BIND_IOMMUFD: {
    EINVAL: [
      boundAlready,
      'the device is bound already, through this or another open of its character device, or cannot be enabled',
    ],
    EBUSY: [groupOpen, "the device's IOMMU group is in use, most likely through VFIO's older /dev/vfio/GROUP"],
    EPERM: [
      groupNotFree,
      'another device of the IOMMU group has a driver of the kernel, or is bound to another iommufd; or interrupts are ' +
        'not isolated (interrupt remapping is off)',
    ],
    EACCES: [
      wantsToken,
      'another VF token is wanted: the device is an SR-IOV virtual function of a VFIO device, or has such functions in use',
    ],
    EAGAIN: 'the device is locked by another reset or by its removal: try again',
    EBADF: 'the iommufd is not an open file descriptor',
    EBADFD: 'the file descriptor is not an iommufd',
    ENODEV: 'the device is leaving VFIO',
    ENOTTY: 'the file descriptor is not a VFIO character device (/dev/vfio/devices/vfioN)',
  },
  VFIO_GROUP_SET_CONTAINER: {
    EINVAL:
      'the group is in a container or an iommufd already; or what is mapped in the container lies where its devices can have ' +
      'nothing',
    EPERM: [
      groupNotViable,
      'a device of the group has a driver of the kernel; or interrupts are not isolated (interrupt remapping is off, or ' +
        'vfio_iommu_type1.allow_unsafe_interrupts=1)',
    ],
    EBUSY: 'the container has mappings whose addresses are invalid: renew them first',
    EBADFD: 'the file descriptor is neither a container nor an iommufd',
    ENODEV: 'the last device of the group has left VFIO',
  },
  VFIO_GROUP_UNSET_CONTAINER: {
    EINVAL: 'the group is in no container',
    EBUSY: 'a device of the group is open: close it first',
  },
  VFIO_GROUP_GET_DEVICE_FD: {
    EINVAL:
      'the group is in no container, or in one without an IOMMU: setContainer(), then setIommu(); or a VF token was given for a ' +
      'device that has no use for one',
    ENODEV: "VFIO has no such device in this group; or, in an iommufd, that has no IOAS for VFIO's older interface",
    EACCES:
      'a VF token is wanted: the device is an SR-IOV virtual function of a VFIO device, or has such functions in use',
    EADDRINUSE: 'a mapping of the IOAS lies where this device can have none',
  },
  VFIO_SET_IOMMU: {
    EINVAL: 'no group is in the container, or its IOMMU is set already',
    ENODEV: 'this kernel does not have such an IOMMU (`modprobe vfio_iommu_type1`): checkExtension() tells',
    EPERM:
      'interrupts are not isolated: switch interrupt remapping on, or accept that a device can forge interrupts ' +
      '(vfio_iommu_type1.allow_unsafe_interrupts=1)',
  },
  VFIO_IOMMU_GET_INFO: { EINVAL: noIommuSet },
  VFIO_IOMMU_MAP_DMA: {
    EINVAL: [
      badPlacementInContainer,
      'the IOVA, offset or length is not a multiple of the page size; or the address of the mapping is valid and cannot be ' +
        'renewed',
    ],
    EEXIST: [taken, 'something is mapped at these IOVAs already: unmap it, or leave iova out'],
    ENOSPC: 'the container has as many mappings as it may: vfio_iommu_type1.dma_entry_limit, 65535 by default',
    ENOMEM: [overLimitInContainer, 'out of memory, or pinning went over RLIMIT_MEMLOCK (`ulimit -l`)'],
    EFAULT:
      'this memory cannot be pinned. Of a region: its device does not decode memory (device.command.memory = true), or is ' +
      'being reset',
    EOVERFLOW: [tooFar, 'iova plus length does not fit 64 bits'],
    ENOENT: 'nothing is mapped at this IOVA any more',
    EPERM: 'what was mapped by another user cannot get an address of this process',
  },
  VFIO_IOMMU_UNMAP_DMA: {
    EINVAL: [
      notWholeInContainer,
      'the range cuts a mapping; or dirty pages are asked for and not tracked; or an address is invalid already',
    ],
    EOVERFLOW: [tooFar, 'iova plus length does not fit 64 bits'],
    EBUSY: 'the container has mediated devices: their addresses cannot change',
  },
  VFIO_IOMMU_DIRTY_PAGES: {
    EINVAL: [notWholeInContainer, 'dirty pages are not tracked: startDirtyTracking()'],
    EACCES: "an IOMMU of 'TYPE1' does not track dirty pages: setIommu('TYPE1v2')",
    EOVERFLOW: [tooFar, 'iova plus length does not fit 64 bits'],
  },
  VFIO_DEVICE_ATTACH_IOMMUFD_PT: {
    ENODEV: 'the page table has a fault queue, and the device makes no page requests; or the device is leaving VFIO',
    EINVAL: [notAttachable, `${notBound}; or its IOMMU cannot use this page table`],
    ENOENT: 'the IOAS or HWPT does not exist in the iommufd that the device is bound to',
    EADDRINUSE: [
      inTheWay,
      'a mapping of the IOAS lies where this device can have none: in its reserved regions, beyond its address width, or ' +
        'not aligned to its IOMMU page',
    ],
    EBUSY: 'a device of the same IOMMU group is attached elsewhere',
    EOPNOTSUPP: "the device's driver has no PASIDs",
    ENOSPC: 'there is no such PASID',
    ENOMEM: [overLimitAtAttach, 'out of memory, or pinning what is mapped went over RLIMIT_MEMLOCK (`ulimit -l`)'],
    EFAULT: 'memory that is mapped in the IOAS can no longer be pinned: this process has unmapped it since',
  },
  VFIO_DEVICE_DETACH_IOMMUFD_PT: { EINVAL: notBound, EOPNOTSUPP: "the device's driver has no PASIDs" },
  VFIO_DEVICE_RESET: {
    EINVAL: `the device has no reset method that would not disturb others (\`reset_method\` in sysfs); or ${notBound}`,
    EAGAIN: 'the device is locked, or shares its bus with others: try again',
    ENOTTY: 'the device has no working reset method',
  },
  VFIO_DEVICE_GET_PCI_HOT_RESET_INFO: { ENODEV: noHotReset },
  VFIO_DEVICE_PCI_HOT_RESET: {
    ENODEV: noHotReset,
    ENOTTY: 'the bus was reset, and a device on it did not come back in time',
    EINVAL: `a device on the same bus belongs to somebody else, which hotResetInfo() names; or ${notBound}`,
    EBUSY: 'a device on the same bus is being used by another thread or process: try again',
  },
  VFIO_DEVICE_FEATURE_PCI_VF_TOKEN: {
    ENOTTY: 'the device is no SR-IOV physical function: only such have a VF token',
  },
  VFIO_DEVICE_FEATURE_BUS_MASTER: {
    ENOTTY: "the device's driver does not have this feature: a PCI device has device.command.busMaster instead",
  },
  VFIO_DEVICE_FEATURE_ZPCI_ERROR: {
    ENOTTY: 'only PCI functions of s390 machines report errors so',
    ENOMSG: 'no error is pending',
  },
  VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP: { EINVAL: `the device is in low power already; or ${notBound}` },
  VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY: { EINVAL: `the device is in low power already; or ${notBound}` },
  VFIO_DEVICE_GET_REGION_INFO: { EINVAL: `no such region; or ${notBound}` },
  VFIO_DEVICE_GET_IRQ_INFO: { EINVAL: `no such interrupt index; or ${notBound}` },
  VFIO_DEVICE_SET_IRQS: {
    EINVAL: [
      refusedInterrupts,
      'the device has no such interrupts, or they are not enabled, or another of INTx, MSI and MSI-X is, or a file ' +
        `descriptor is no eventfd; or ${notBound}`,
    ],
    ENOTTY:
      'the kernel cannot do this for this kind of interrupt: only INTx can be masked and unmasked, and unmasked, not ' +
      'masked, by an eventfd. An MSI or MSI-X vector is masked in the device, or by giving it to nobody: enable([null])',
    EBUSY: 'another eventfd unmasks this interrupt already: unmaskBy(null) first',
    ENODEV: 'the interrupt pin of the device is not connected',
    ENOSPC: 'the machine has no interrupt vectors left for as many: ask for fewer',
    ERANGE: 'no vector was asked for',
  },
  VFIO_DEVICE_IOEVENTFD: {
    EINVAL: `the write is not wholly inside a BAR, or it is in the MSI-X table; or ${notBound}`,
    EEXIST: 'this very write is set off by an eventfd already: close() the other ioeventfd',
    ENODEV: 'there is no such ioeventfd any more; or the BAR cannot be reached',
    ENOSPC: 'the device has as many ioeventfds as it can have (1000)',
    EBUSY: 'the BAR is reserved by another driver',
  },
  VFIO_DEVICE_FEATURE_DMA_BUF: {
    ENOTTY:
      'this kernel has no VFIO DMA-BUF export: VFIO_DEVICE_FEATURE_DMA_BUF is there from Linux 6.19 on, with ' +
      'CONFIG_VFIO_PCI_DMABUF',
    EOPNOTSUPP: 'the driver that this device is bound to does not export dma-bufs; vfio-pci does',
    EINVAL: [
      badRange,
      `every range must be page aligned, not empty and inside the BAR, and the BAR memory, not I/O ports; or ${notBound}`,
    ],
    ENODEV: [noBar, 'the region is not a BAR of this device: only regions 0 to 5 that exist can be exported'],
    EOVERFLOW: 'offset plus length, counted from where the BAR lies on the bus, does not fit 64 bits',
  },
  VFIO_DEVICE_FEATURE_MIGRATION: { ENOTTY: noMigration },
  VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE: {
    ENOTTY: noMigration,
    EINVAL: [
      noWay,
      `the device has no such state, no way leads there, or what was resumed is not whole; or ${notBound}`,
    ],
    EIO: 'the device failed; its state may be one on the way: ask for it, and reset() if it is an error',
    ENOTCONN: 'the driver of the physical function, through which this one is migrated, is gone',
  },
  VFIO_DEVICE_FEATURE_MIG_DATA_SIZE: { ENOTTY: noMigration },
  VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2: {
    EINVAL: `the device cannot save while it runs; or ${notBound}`,
    ENOTTY: 'this kernel does not tell new initial bytes',
  },
  VFIO_MIG_GET_PRECOPY_INFO: {
    EINVAL: "only a device in 'pre-copy' or 'pre-copy-p2p' can tell",
    ENODEV: 'this save is over: the device was reset, or has left the states that save',
    ENOTTY: 'this data is not of a save, or the driver cannot save while the device runs',
  },
  VFIO_DEVICE_FEATURE_DMA_LOGGING_START: {
    EINVAL:
      'there must be a range, the ranges must be multiples of the page size and not overlap, and the log must be off; ' +
      `or ${notBound}`,
    E2BIG: 'the kernel takes as many ranges as fit a page: 256. Join those that are near each other',
    EOVERFLOW: 'iova plus length does not fit 64 bits',
    EOPNOTSUPP: 'the device cannot track so much',
    ENOTTY: noLog,
  },
  VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP: { ENOTTY: noLog },
  VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT: {
    EINVAL: `the page size must be a power of two and at least 4096, and the log on; or ${notBound}`,
    EOVERFLOW: 'iova plus length does not fit 64 bits',
    EIO: 'the device failed to track: take all of its memory for dirty',
    ENOTTY: noLog,
  },
  VFIO_DEVICE_QUERY_GFX_PLANE: {
    EINVAL: `the device does not show its planes in this way, which probe() tells; or ${notBound}`,
    ENOTTY: 'the device is not a display, or its driver does not show what is on it',
    ENOMEM: "out of memory; Linux's sample mbochs says so, too, when a picture is new: ask again",
  },
  VFIO_DEVICE_GET_GFX_DMABUF: {
    ENOENT: 'the display has no picture of this id: ask for the plane again',
    EINVAL: `the picture does not begin at a page; or ${notBound}`,
    ENOTTY: 'the device shows nothing as dma-bufs: gfx.probe() tells',
  },
  'VFIO_*': {
    EINVAL: notBound,
    ENOTTY: "this kernel or the device's driver does not have this call, or the file descriptor is not a VFIO device",
    ENODEV: 'the device is leaving VFIO',
  },
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
    EBUSY: "the BAR is reserved by another driver, such as the firmware's frame buffer",
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

/** @internal */
export function hintFor(call: string, code: string, args: Arguments, around: Around): string | undefined {
  const family = `${call.split('_')[0] ?? ''}_*`;
  const hint = hints[call]?.[code] ?? hints[family]?.[code] ?? hints['*']?.[code];
  if (hint === undefined || typeof hint === 'string') return hint;
  const [look, otherwise] = hint;
  return attempt(() => look(args, around)) ?? otherwise;
}
