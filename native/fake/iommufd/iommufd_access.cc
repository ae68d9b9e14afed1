// Attaching a device without an IOMMU to an IOAS.
#include "fake/iommufd/iommufd_access.h"

#include <cerrno>

namespace fake {

// iommufd_access_change_ioas()
int IommufdAccess::Attach(const Iommufd& iommufd, uint32_t ioas) {
  auto found = iommufd.Find<Ioas>(ioas);
  if (!found) return -ENOENT;
  if (ioas_.get() == found) return 0;
  if (const int added = found->space.AddAccess(this); added != 0) return added;
  Detach();
  ioas_ = Use<Ioas>(std::move(found));
  return 0;
}

void IommufdAccess::Detach() {
  if (!ioas_) return;
  ioas_->space.RemoveAccess(this);
  ioas_ = Use<Ioas>();
}

}  // namespace fake
