// The IOMMU of Linux's mock devices (drivers/iommu/iommufd/selftest.c): pages of 2 KiB, an aperture from 16 MiB to 2
// GiB, dirty tracking, nesting, PASIDs.
#pragma once

#include "fake/iommu/iommu.h"

namespace fake {

class MockIommu : public Iommu {
 public:
  // As the device in front of it was made: MOCK_FLAGS_DEVICE_*.
  explicit MockIommu(uint32_t flags) : flags_(flags) {}

  const char* driver() const override { return "mock"; }
  std::vector<uapi::iommu_iova_range> Reserved() const override { return {}; }
  uint64_t capabilities() const override;
  uint8_t max_pasid_log2() const override;
  bool takes_page_requests() const override { return true; }
  bool has_viommu(uint32_t type) const override;
  int Describe(uint32_t* type, std::vector<uint8_t>* data) const override;
  int AllocatePaging(uint32_t flags, const DriverData* data, PageTable* out) const override;
  int AllocateNested(uint32_t flags, const DriverData& data, MockTlb* tlb) const override;
  bool Fits(const PageTable& table) const override { return !table.dirty_tracking || tracks_dirty(); }

 private:
  uint32_t flags_;
};

}  // namespace fake
