// A device as an object of an iommufd, and what it is attached to. The rules are those of
// drivers/iommu/iommufd/device.c.
#pragma once

#include <map>
#include <optional>
#include <vector>

#include "fake/iommufd/iommufd.h"
#include "fake/iommufd/iommufd_hwpt.h"

namespace fake {

class Viommu;

class IommufdDevice : public IommufdObject {
 public:
  // In use by its driver until that removes it. `group`: its IOMMU group; none: one of its own.
  explicit IommufdDevice(std::shared_ptr<const Iommu> iommu, std::optional<uint32_t> group = {})
      : iommu_(std::move(iommu)), group_(group) {
    users = 1;
  }

  // To an IOAS or a HWPT, from what it was attached to before. Returns the id of the HWPT, or a negated errno.
  int Attach(Iommufd& iommufd, uint32_t page_table, uint32_t pasid);
  void Detach(Iommufd& iommufd, uint32_t pasid);
  void Leave(Iommufd& iommufd) override;

  // A page request of the device's.
  void Report(const uapi::iommu_hwpt_pgfault& request) const;

  const Iommu& iommu() const { return *iommu_; }
  bool IsAttached(uint32_t pasid) const { return attached_.contains(pasid); }
  // nullptr: attached to nothing.
  std::shared_ptr<Hwpt> AttachedTo(uint32_t pasid) const;
  // What its DMA goes through; nullptr: nothing.
  const IoAddressSpace* address_space() const;

  uint32_t vdevice = 0;  // its virtual device; 0: none

  // What the mock IOMMU tells its guest's: nullptr while it is not behind a virtual one.
  Viommu* viommu() const { return viommu_; }
  uint64_t virtual_id() const { return virtual_id_; }

 private:
  int AttachToIoas(Iommufd& iommufd, const std::shared_ptr<Ioas>& ioas, uint32_t pasid);
  int AttachTo(Iommufd& iommufd, const std::shared_ptr<Hwpt>& hwpt, uint32_t pasid);
  // Those of its IOMMU group that are attached with the PASID, all to one page table.
  std::vector<IommufdDevice*> AttachedOfGroup(const Iommufd& iommufd, uint32_t pasid);
  static int Reserve(const std::vector<IommufdDevice*>& devices, Ioas& ioas);
  int CheckPasid(const Hwpt& hwpt, uint32_t pasid) const;
  static void LetGo(Iommufd& iommufd, Use<Hwpt> hwpt);

  // mock_domain_nop_attach(): what it is called in its virtual IOMMU is looked up once.
  int FindVirtualId(const Hwpt& hwpt);

  std::shared_ptr<const Iommu> iommu_;
  Viommu* viommu_ = nullptr;
  uint64_t virtual_id_ = 0;
  std::optional<uint32_t> group_;
  std::map<uint32_t, Use<Hwpt>> attached_;  // by PASID; 0 is the device without one
};

}  // namespace fake
