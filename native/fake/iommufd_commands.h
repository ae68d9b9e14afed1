// The commands of /dev/iommu, by the file that answers them. Results are >= 0 or a negated errno; a command changes of
// its struct only what the kernel gives back.
#pragma once

#include "fake/iommufd.h"
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

}  // namespace fake
