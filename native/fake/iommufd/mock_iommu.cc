// What the driver of the mock devices answers.
#include "fake/iommufd/mock_iommu.h"

#include "fake/iommufd/iommufd_test_abi.h"

namespace fake {
namespace {

constexpr uint8_t kPasidWidth = 20;
constexpr Aperture kAperture = {.first = uint64_t{1} << 24, .last = (uint64_t{1} << 31) - 1, .page_size = 2048};
// With large pages the table has the width of its three levels, and ordinary pages beside them.
constexpr Aperture kHugeAperture = {.first = 0, .last = (uint64_t{1} << 38) - 1, .page_size = 4096};

}  // namespace

uint64_t MockIommu::capabilities() const {
  const bool tracks = (flags_ & uapi::MOCK_FLAGS_DEVICE_NO_DIRTY) == 0;
  return uapi::IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED | (tracks ? uapi::IOMMU_HW_CAP_DIRTY_TRACKING : 0);
}

uint8_t MockIommu::max_pasid_log2() const { return (flags_ & uapi::MOCK_FLAGS_DEVICE_PASID) != 0 ? kPasidWidth : 0; }

bool MockIommu::has_viommu(uint32_t type) const { return type == uapi::IOMMU_VIOMMU_TYPE_SELFTEST; }

int MockIommu::Describe(uint32_t* type, std::vector<uint8_t>* data) const {
  if (*type != uapi::IOMMU_HW_INFO_TYPE_DEFAULT && *type != uapi::IOMMU_HW_INFO_TYPE_SELFTEST) return -EOPNOTSUPP;
  const uapi::iommu_test_hw_info info = {.flags = 0, .test_reg = uapi::IOMMU_HW_INFO_SELFTEST_REGVAL};
  const auto* bytes = reinterpret_cast<const uint8_t*>(&info);
  data->assign(bytes, bytes + sizeof(info));
  *type = uapi::IOMMU_HW_INFO_TYPE_SELFTEST;
  return 0;
}

// mock_domain_alloc_paging_flags()
int MockIommu::AllocatePaging(uint32_t flags, const DriverData* data, PageTable* out) const {
  uapi::iommu_hwpt_selftest wanted = {};
  if (data) {
    if (data->type != uapi::IOMMU_HWPT_DATA_SELFTEST) return -EOPNOTSUPP;
    if (const int bad = data->CopyTo(&wanted, sizeof(wanted.iotlb)); bad != 0) return bad;
  }
  if (wanted.pagetable_type > uapi::MOCK_IOMMUPT_HUGE) return -EOPNOTSUPP;
  out->aperture = wanted.pagetable_type == uapi::MOCK_IOMMUPT_HUGE ? kHugeAperture : kAperture;
  out->dirty_tracking = (flags & uapi::IOMMU_HWPT_ALLOC_DIRTY_TRACKING) != 0;
  return 0;
}

// mock_domain_alloc_nested()
int MockIommu::AllocateNested(uint32_t flags, const DriverData& data, MockTlb* tlb) const {
  if ((flags & ~uapi::IOMMU_HWPT_ALLOC_PASID) != 0 || data.type != uapi::IOMMU_HWPT_DATA_SELFTEST) return -EOPNOTSUPP;
  uapi::iommu_hwpt_selftest wanted = {};
  const int bad = data.CopyTo(&wanted, sizeof(wanted.iotlb));
  if (bad == 0) tlb->fill(wanted.iotlb);
  return bad;
}

}  // namespace fake
