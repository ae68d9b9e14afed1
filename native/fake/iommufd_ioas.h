// An IOAS as an object of an iommufd.
#pragma once

#include "fake/io_address_space.h"
#include "fake/iommufd_object.h"

namespace fake {

struct Ioas : IommufdObject {
  IoAddressSpace space;
};

}  // namespace fake
