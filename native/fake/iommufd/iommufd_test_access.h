// A mock driver that accesses an IOAS's memory with the CPU, as a file (struct selftest_access in
// drivers/iommu/iommufd/selftest.c).
#pragma once

#include <map>

#include "fake/iommufd/iommufd_access.h"
#include "fake/iommufd/iommufd_test_abi.h"

namespace fake {

// What of this process's memory is mapped where.
Place PlaceOf(uint64_t address);

// The requests on it: 0, or a negated errno.
int CreateAccess(Iommufd& iommufd, uapi::iommu_test_cmd& command);
int ReplaceIoas(Iommufd& iommufd, const uapi::iommu_test_cmd& command);
int PinPages(Iommufd& iommufd, uapi::iommu_test_cmd& command);
int UnpinPages(Iommufd& iommufd, const uapi::iommu_test_cmd& command);
int ReadWrite(Iommufd& iommufd, const uapi::iommu_test_cmd& command);

}  // namespace fake
