// Hardware page tables: what an IOMMU translates by, made for one kind of IOMMU.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/iommufd_object.h"

namespace core {

class Hwpt : public IommufdObject {
 public:
  struct Request {
    uint32_t device;  // whose IOMMU is to use it
    uint32_t flags;   // IOMMU_HWPT_ALLOC_*
    std::optional<uint32_t> fault_queue;
    uint32_t data_type;  // IOMMU_HWPT_DATA_*
    std::vector<uint8_t> data;
  };
  // `parent`: an IOAS, to map what is mapped there; a HWPT or vIOMMU, to be nested in. `also`: what else it uses.
  static std::shared_ptr<Hwpt> Allocate(std::shared_ptr<const IommufdObject> parent, const Request& request,
                                        Parents also = {});

  void SetDirtyTracking(bool enable) const;
  // Sets the bit of each page, counted from `iova`, that was written to. `bitmap` has room for them in whole u64s.
  void GetDirtyBitmap(uint64_t iova, uint64_t length, uint64_t page_size, bool keep, void* bitmap) const;

 private:
  using IommufdObject::IommufdObject;
};

// Makes an IOMMU forget what it cached, for a nested HWPT or a vIOMMU: entries of the same length each, one after the
// other. Returns how many were heeded; `error`: a negated errno for the next of them, or 0.
uint32_t Invalidate(const IommufdObject& of, uint32_t type, uint32_t entry_length, const std::vector<uint8_t>& entries,
                    int* error);

// What a device's IOMMU is.
struct HwInfo {
  uint32_t type;              // IOMMU_HW_INFO_TYPE_*
  std::vector<uint8_t> data;  // in the format of the type
  uint64_t capabilities;      // IOMMU_HW_CAP_*
  uint8_t max_pasid_log2;
};
// `type`: what the answer must be. EOPNOTSUPP: it is not.
HwInfo GetHwInfo(const Fd& iommufd, uint32_t device, std::optional<uint32_t> type);

}  // namespace core
