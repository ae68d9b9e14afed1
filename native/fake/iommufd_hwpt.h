// Hardware page tables (HWPTs) as objects of an iommufd: what devices are attached to.
#pragma once

#include "fake/iommu.h"
#include "fake/iommufd_ioas.h"
#include "fake/iommufd_object.h"

namespace fake {

class PagingHwpt;

class Hwpt : public IommufdObject {
 public:
  explicit Hwpt(const Iommu& iommu) : driver_(iommu.driver()) {}

  // The one with an IOAS behind it: itself, or what it is nested in.
  virtual PagingHwpt& paging() = 0;
  const char* driver() const { return driver_; }

  bool pasid_compatible = false;

 private:
  const char* driver_;
};

// All that is mapped in an IOAS, in the format of one IOMMU.
class PagingHwpt : public Hwpt {
 public:
  PagingHwpt(const Iommu& iommu, std::shared_ptr<Ioas> ioas) : Hwpt(iommu), ioas_(std::move(ioas)) {}
  ~PagingHwpt() override;

  // Puts what is mapped in the IOAS into the table: -EADDRINUSE if some of that lies where it can have nothing.
  int Fill(const Aperture& aperture);

  PagingHwpt& paging() override { return *this; }
  Ioas& ioas() const { return *ioas_; }

  bool automatic = false;  // made by an attachment to an IOAS, gone with the last

 private:
  Use<Ioas> ioas_;
};

}  // namespace fake
