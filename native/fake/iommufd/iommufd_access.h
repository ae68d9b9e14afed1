// A device without an IOMMU as an object of an iommufd: its driver accesses an IOAS's memory with the CPU. The rules
// are those of struct iommufd_access in drivers/iommu/iommufd/device.c.
#pragma once

#include "fake/iommufd/iommufd.h"
#include "fake/iommufd/iommufd_ioas.h"
#include "kernel/page_size.h"

namespace fake {

class IommufdAccess : public IommufdObject, public IoAddressSpace::Accessor {
 public:
  // The driver is a user until it removes the object.
  IommufdAccess() { users = 1; }

  // Attaches to an IOAS, instead of the previous one: 0, or a negated errno.
  int Attach(const Iommufd& iommufd, uint32_t ioas);
  void Detach();
  void Leave(Iommufd&) override { Detach(); }
  uint64_t alignment() const override { return kernel::PageSize(); }
  // nullptr: not attached.
  IoAddressSpace* space() const { return ioas_ ? &ioas_->space : nullptr; }

 private:
  Use<Ioas> ioas_;
};

}  // namespace fake
