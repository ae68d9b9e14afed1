// The IOMMU in front of a device, as its driver answers IOMMUFD (struct iommu_ops in the kernel): what it is, and which
// page tables it makes.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "uapi/iommufd.h"

namespace fake {

// What all page tables of a machine's IOMMU can translate, and what no device of the machine can have mapped.
struct IommuLimits {
  uint64_t last_iova = ~uint64_t{0};
  std::vector<uapi::iommu_iova_range> reserved;  // in ascending order
  uint64_t alignment = 1;
};

// What one page table can map: the IOVAs `first` to `last`, in pages of this size.
struct Aperture {
  uint64_t first = 0;
  uint64_t last = ~uint64_t{0};
  uint64_t page_size = 1;
};

class Iommu {
 public:
  Iommu() = default;
  Iommu(const Iommu&) = delete;
  Iommu& operator=(const Iommu&) = delete;
  virtual ~Iommu() = default;

  // Page tables of one driver fit devices of the same driver only.
  virtual const char* driver() const = 0;
  // IOVAs that no device behind it can have mapped.
  virtual std::vector<uapi::iommu_iova_range> Reserved() const = 0;

  virtual int AllocatePaging(Aperture* aperture) const = 0;
};

}  // namespace fake
