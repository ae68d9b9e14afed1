// The answers of Intel's driver.
#include "fake/iommu/intel_iommu.h"

namespace fake {

// intel_iommu_hw_info()
int IntelIommu::Describe(uint32_t* type, std::vector<uint8_t>* data) const {
  if (*type != uapi::IOMMU_HW_INFO_TYPE_DEFAULT && *type != uapi::IOMMU_HW_INFO_TYPE_INTEL_VTD) return -EOPNOTSUPP;
  const uapi::iommu_hw_info_vtd info = {.flags = uapi::IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17,
                                        .cap_reg = limits_.capability,
                                        .ecap_reg = limits_.extended_capability};
  const auto* bytes = reinterpret_cast<const uint8_t*>(&info);
  data->assign(bytes, bytes + sizeof(info));
  *type = uapi::IOMMU_HW_INFO_TYPE_INTEL_VTD;
  return 0;
}

// intel_iommu_domain_alloc_second_stage()
int IntelIommu::AllocatePaging(uint32_t flags, const DriverData* data, PageTable* out) const {
  if (data || (flags & ~uapi::IOMMU_HWPT_ALLOC_PASID) != 0) return -EOPNOTSUPP;
  out->aperture = {.first = 0, .last = limits_.last_iova, .page_size = limits_.alignment};
  return 0;
}

}  // namespace fake
