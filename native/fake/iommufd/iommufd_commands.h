// The commands of /dev/iommu, by the file that answers them. Results are >= 0 or a negated errno; a command writes only
// the struct's output fields.
#pragma once

#include "fake/iommufd/iommufd.h"
#include "fake/iommufd/iommufd_test_abi.h"
#include "uapi/iommufd.h"

namespace fake {

// iommufd.cc
int Destroy(Iommufd& iommufd, uapi::iommu_destroy& command);

// iommufd_ioas.cc
int IoasAllocate(Iommufd& iommufd, uapi::iommu_ioas_alloc& command);
int IoasIovaRanges(Iommufd& iommufd, uapi::iommu_ioas_iova_ranges& command);
int IoasMap(Iommufd& iommufd, uapi::iommu_ioas_map& command);
int IoasMapFile(Iommufd& iommufd, uapi::iommu_ioas_map_file& command);
int IoasCopy(Iommufd& iommufd, uapi::iommu_ioas_copy& command);
int IoasUnmap(Iommufd& iommufd, uapi::iommu_ioas_unmap& command);
int IoasAllowIovas(Iommufd& iommufd, uapi::iommu_ioas_allow_iovas& command);
int IoasChangeProcess(Iommufd& iommufd, uapi::iommu_ioas_change_process& command);
int IoasNoIommuGetPhysical(Iommufd& iommufd, uapi::iommu_ioas_noiommu_get_pa& command);

// vfio_compat.cc: the requests below IOMMUFD's own.
int VfioCompat(Iommufd& iommufd, uapi::request_t request, void* argument);

// iommufd_options.cc
int Option(Iommufd& iommufd, uapi::iommu_option& command);
int VfioIoas(Iommufd& iommufd, uapi::iommu_vfio_ioas& command);

// iommufd_hwpt.cc
int HwptAllocate(Iommufd& iommufd, uapi::iommu_hwpt_alloc& command);
int HwptSetDirtyTracking(Iommufd& iommufd, uapi::iommu_hwpt_set_dirty_tracking& command);
int HwptGetDirtyBitmap(Iommufd& iommufd, uapi::iommu_hwpt_get_dirty_bitmap& command);

// iommufd_invalidate.cc
int HwptInvalidate(Iommufd& iommufd, uapi::iommu_hwpt_invalidate& command);

// iommufd_fault_queue.cc
int FaultQueueAllocate(Iommufd& iommufd, uapi::iommu_fault_alloc& command);

// iommufd_viommu.cc
int ViommuAllocate(Iommufd& iommufd, uapi::iommu_viommu_alloc& command);
int VdeviceAllocate(Iommufd& iommufd, uapi::iommu_vdevice_alloc& command);
int HwQueueAllocate(Iommufd& iommufd, uapi::iommu_hw_queue_alloc& command);
int VeventQueueAllocate(Iommufd& iommufd, uapi::iommu_veventq_alloc& command);

// iommufd_device.cc
int GetHwInfo(Iommufd& iommufd, uapi::iommu_hw_info& command);

// iommufd_test.cc
int Test(Iommufd& iommufd, uapi::iommu_test_cmd& command);

}  // namespace fake
