// A device as an object of an iommufd, and what it is attached to. The rules are those of
// drivers/iommu/iommufd/device.c; every device is an IOMMU group of its own.
#pragma once

#include <map>

#include "fake/iommufd.h"
#include "fake/iommufd_hwpt.h"

namespace fake {

class IommufdDevice : public IommufdObject {
 public:
  // In use by its driver until that removes it.
  explicit IommufdDevice(std::shared_ptr<const Iommu> iommu) : iommu_(std::move(iommu)) { users = 1; }

  // To an IOAS or a HWPT, from what it was attached to before. Returns the id of the HWPT, or a negated errno.
  int Attach(Iommufd& iommufd, uint32_t page_table, uint32_t pasid);
  void Detach(Iommufd& iommufd, uint32_t pasid);
  void Leave(Iommufd& iommufd) override;

  const Iommu& iommu() const { return *iommu_; }
  bool IsAttached(uint32_t pasid) const { return attached_.contains(pasid); }
  // nullptr: attached to nothing.
  std::shared_ptr<Hwpt> AttachedTo(uint32_t pasid) const;
  // What its DMA goes through; nullptr: nothing.
  const IoAddressSpace* address_space() const;

 private:
  int AttachToIoas(Iommufd& iommufd, const std::shared_ptr<Ioas>& ioas, uint32_t pasid);
  int AttachTo(Iommufd& iommufd, const std::shared_ptr<Hwpt>& hwpt, uint32_t pasid);
  int CheckPasid(const Hwpt& hwpt, uint32_t pasid) const;
  static void LetGo(Iommufd& iommufd, Use<Hwpt> hwpt);

  std::shared_ptr<const Iommu> iommu_;
  std::map<uint32_t, Use<Hwpt>> attached_;  // by PASID; 0 is the device without one
};

}  // namespace fake
