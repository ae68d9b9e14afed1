// Errno hints for VFIO devices: Linux's drivers/vfio.
import { native } from '../addon/native';
import { badRange, noBar, noExport, reservedBar } from './causes/export';
import { boundAlready, groupNotFree, groupOpen, notAttachable } from './causes/iommu-group';
import { refusedInterrupts } from './causes/interrupts';
import { inTheWay, overLimitAtAttach } from './causes/map';
import { noWay } from './causes/migration';
import { wantsToken } from './causes/vf-token';
import { notBound, type Hints } from './hint';

const noHotReset = 'neither the slot nor the bus of the device can be reset, as on a root complex: use reset()';

const noMigration =
  "the device cannot be migrated: its driver (`driver` in the device's sysfs folder) has no part for it";

const noLog = 'the device keeps no log of its DMA: the IOMMU may track dirty pages instead';

/** 16 bytes each. */
const rangesOfAPage = (): string =>
  `the kernel takes as many ranges as fit a page: ${native.pageSize / 16n}. Join those that are near each other`;

export const vfioHints: Hints = {
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
    EBUSY: [reservedBar, 'the BAR is reserved by another driver'],
  },
  VFIO_DEVICE_FEATURE_DMA_BUF: {
    ENOTTY:
      'this kernel has no VFIO DMA-BUF export: VFIO_DEVICE_FEATURE_DMA_BUF is there from Linux 6.19 on, with ' +
      'CONFIG_VFIO_PCI_DMABUF',
    EOPNOTSUPP: [noExport, 'the driver that this device is bound to does not export dma-bufs; vfio-pci does'],
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
    E2BIG: [rangesOfAPage, 'the kernel takes as many ranges as fit a page: join those that are near each other'],
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
};
