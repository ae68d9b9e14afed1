// Errno hints for VFIO's group interface: Linux's drivers/vfio/group.c, container.c and vfio_iommu_type1.c.
import { groupNotViable, groupOfFirmware } from './causes/iommu-group';
import {
  badPlacementInContainer,
  noIommuSet,
  notWholeInContainer,
  overLimitInContainer,
  taken,
  tooFar,
} from './causes/map';
import type { Hints } from './hint';

export const containerHints: Hints = {
  VFIO_GROUP_SET_CONTAINER: {
    EINVAL: [
      groupOfFirmware,
      'the group is in a container or an iommufd already; or what is mapped in the container lies where its devices can have ' +
        'nothing',
    ],
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
    EINVAL: [
      groupOfFirmware,
      'the group is in no container, or in one without an IOMMU: setContainer(), then setIommu(); or a VF token was given for a ' +
        'device that has no use for one',
    ],
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
};
