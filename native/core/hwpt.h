// Hardware page tables (HWPTs): the tables of one kind of IOMMU.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/iommufd_object.h"

namespace core {

class Hwpt : public IommufdObject {
 public:
  struct Request {
    uint32_t device;  // the table is made for its IOMMU
    uint32_t flags;   // IOMMU_HWPT_ALLOC_*
    std::optional<uint32_t> fault_queue;
    uint32_t data_type;  // IOMMU_HWPT_DATA_*
    std::vector<uint8_t> data;
  };
  // `parent`: an IOAS, whose mappings it gets, or the HWPT or vIOMMU that it is nested in. `also`: other objects that
  // it uses.
  static std::shared_ptr<Hwpt> Allocate(const std::shared_ptr<const IommufdObject>& parent, const Request& request,
                                        Parents also = {});

  void SetDirtyTracking(bool enable) const;
  // Sets the bit of each page, counted from `iova`, that was written to. `bitmap` has room for them in whole u64s.
  void GetDirtyBitmap(uint64_t iova, uint64_t length, uint64_t page_size, bool keep, void* bitmap) const;

 private:
  using IommufdObject::IommufdObject;
};

// Invalidates an IOMMU's caches for a nested HWPT or a vIOMMU, by an array of entries of one length. Returns the number
// of entries executed; `error`: a negated errno for the next entry, or 0.
uint32_t Invalidate(const IommufdObject& of, uint32_t type, uint32_t entry_length, const std::vector<uint8_t>& entries,
                    int* error);

// Information about a device's IOMMU.
struct HwInfo {
  uint32_t type;              // IOMMU_HW_INFO_TYPE_*
  std::vector<uint8_t> data;  // in the format of the type
  uint64_t capabilities;      // IOMMU_HW_CAP_*
  uint8_t max_pasid_log2;
};
// `type`: the wanted type. EOPNOTSUPP: the IOMMU has another one.
HwInfo GetHwInfo(const Fd& iommufd, uint32_t device, std::optional<uint32_t> type);

}  // namespace core
