// The rules are those of drivers/iommu/iommufd/hw_pagetable.c.
#include "fake/iommufd_hwpt.h"

namespace fake {

PagingHwpt::~PagingHwpt() { ioas_->space.RemoveDomain(this); }

int PagingHwpt::Fill(const Aperture& aperture) { return ioas_->space.AddDomain(this, aperture); }

}  // namespace fake
