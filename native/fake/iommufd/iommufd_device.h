// A device as an object of an iommufd, and its attachments. The rules are those of drivers/iommu/iommufd/device.c.
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
  // The driver is a user until it removes the object. `group`: its IOMMU group; none: a group of its own.
  explicit IommufdDevice(std::shared_ptr<const Iommu> iommu, std::optional<uint32_t> group = {})
      : iommu_(std::move(iommu)), group_(group) {
    users = 1;
  }

  // Attaches to an IOAS or a HWPT, instead of the previous one. Returns the id of the HWPT, or a negated errno.
  int Attach(Iommufd& iommufd, uint32_t page_table, uint32_t pasid);
  void Detach(Iommufd& iommufd, uint32_t pasid);
  void Leave(Iommufd& iommufd) override;

  // Sends a page request of the device.
  void Report(const uapi::iommu_hwpt_pgfault& request) const;

  const Iommu& iommu() const { return *iommu_; }
  bool IsAttached(uint32_t pasid) const { return attached_.contains(pasid); }
  // nullptr: attached to nothing.
  std::shared_ptr<Hwpt> AttachedTo(uint32_t pasid) const;
  // The address space of its DMA; nullptr: not attached.
  const IoAddressSpace* address_space() const;

  uint32_t vdevice = 0;  // its virtual device; 0: none

  // The virtual IOMMU that gets its events; nullptr: not behind one.
  Viommu* viommu() const { return viommu_; }
  uint64_t virtual_id() const { return virtual_id_; }

 private:
  int AttachToIoas(Iommufd& iommufd, const std::shared_ptr<Ioas>& ioas, uint32_t pasid);
  int AttachTo(Iommufd& iommufd, const std::shared_ptr<Hwpt>& hwpt, uint32_t pasid);
  // The devices of its IOMMU group that are attached with the PASID, all to one page table.
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
