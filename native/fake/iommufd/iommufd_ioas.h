// An IOAS as an object of an iommufd.
#pragma once

#include "fake/iommu/io_address_space.h"
#include "fake/iommufd/iommufd.h"
#include "fake/iommufd/iommufd_object.h"

namespace fake {

struct Ioas : IommufdObject {
  IoAddressSpace space;
};

// iopt_map_user_pages(): maps this process's memory. `flags` are IOMMU_IOAS_MAP_*.
int MapUserPages(Iommufd& iommufd, Ioas& ioas, uint64_t address, uint64_t length, uint32_t flags, uint64_t* iova);

}  // namespace fake
