// A device without an IOMMU as an object of an iommufd: its driver reaches what an IOAS maps with the CPU. The rules
// are those of struct iommufd_access in drivers/iommu/iommufd/device.c.
#pragma once

#include "fake/iommufd/iommufd.h"
#include "fake/iommufd/iommufd_ioas.h"

namespace fake {

class IommufdAccess : public IommufdObject {
 public:
  // In use by its driver until that removes it.
  IommufdAccess() { users = 1; }

  // To an IOAS, from what it was attached to before: 0, or a negated errno.
  int Attach(const Iommufd& iommufd, uint32_t ioas);
  void Detach();
  void Leave(Iommufd&) override { Detach(); }

 private:
  Use<Ioas> ioas_;
};

}  // namespace fake
