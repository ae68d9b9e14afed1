// An IOAS as an object of an iommufd.
#pragma once

#include "fake/iommu/io_address_space.h"
#include "fake/iommufd/iommufd_object.h"

namespace fake {

struct Ioas : IommufdObject {
  IoAddressSpace space;
};

}  // namespace fake
