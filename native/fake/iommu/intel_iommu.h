// Intel's IOMMU as QEMU emulates it (drivers/iommu/intel/iommu.c), without scalable mode: it has only second-stage
// tables.
#pragma once

#include "fake/iommu/iommu.h"

namespace fake {

class IntelIommu : public Iommu {
 public:
  explicit IntelIommu(IommuLimits limits) : limits_(std::move(limits)) {}

  const char* driver() const override { return "intel"; }
  std::vector<uapi::iommu_iova_range> Reserved() const override { return limits_.reserved; }
  uint64_t capabilities() const override { return uapi::IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED; }
  int Describe(uint32_t* type, std::vector<uint8_t>* data) const override;
  int AllocatePaging(uint32_t flags, const DriverData* data, PageTable* out) const override;

 private:
  IommuLimits limits_;
};

}  // namespace fake
