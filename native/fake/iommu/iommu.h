// The IOMMU of a device, as its driver appears to IOMMUFD (struct iommu_ops in the kernel): its properties and its page
// tables.
#pragma once

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <vector>

#include "fake/files/user_memory.h"
#include "kernel/non_copyable.h"
#include "uapi/iommufd.h"

namespace fake {

// The IOVAs that a machine's IOMMU translates, and the reserved ones.
struct IommuLimits {
  uint64_t last_iova = ~uint64_t{0};
  std::vector<uapi::iommu_iova_range> reserved;  // in ascending order
  uint64_t alignment = 1;
  uint64_t capability = 0;  // Intel's capability registers
  uint64_t extended_capability = 0;
};

// The IOVAs that a page table can map, `first` to `last`, and its page size.
struct Aperture {
  uint64_t first = 0;
  uint64_t last = ~uint64_t{0};
  uint64_t page_size = 1;
};

// The driver's result of IOMMU_HWPT_ALLOC.
struct PageTable {
  Aperture aperture;
  bool dirty_tracking = false;
};

// A command's data in the driver's format. `bytes` is in the caller's memory.
struct DriverData {
  uint32_t type;
  const void* bytes;
  uint32_t length;

  // Copies it as the kernel does: at least `smallest` bytes and at most sizeof(T).
  template <typename T>
  int CopyTo(T* out, std::size_t smallest) const {
    if (length < smallest || length > sizeof(T)) return -EINVAL;
    return CopyFromUser(out, bytes, length) ? 0 : -EFAULT;
  }
};

// The TLB entries of a nested page table of the mock IOMMU, which tests read.
using MockTlb = std::array<uint32_t, 4>;

class Iommu : private kernel::NonCopyable {
 public:
  virtual ~Iommu() = default;

  // The driver's name. A device can use only page tables of its own driver.
  virtual const char* driver() const = 0;
  // The IOVAs that no device of this IOMMU can use.
  virtual std::vector<uapi::iommu_iova_range> Reserved() const = 0;
  virtual uint64_t capabilities() const = 0;  // IOMMU_HW_CAP_*
  virtual uint8_t max_pasid_log2() const { return 0; }
  virtual bool takes_page_requests() const { return false; }  // whether the device can make page requests
  // Answers IOMMU_GET_HW_INFO. `*type`, in: the requested type (0: any); out: the IOMMU's type.
  virtual int Describe(uint32_t* type, std::vector<uint8_t>* data) const = 0;

  // `flags` do not include those that IOMMUFD handles. `data` may be nullptr.
  virtual int AllocatePaging(uint32_t flags, const DriverData* data, PageTable* out) const = 0;
  virtual int AllocateNested(uint32_t, const DriverData&, MockTlb*) const { return -EOPNOTSUPP; }
  virtual bool has_viommu(uint32_t /*type*/) const { return false; }
  // Whether the device can use a page table that was made for another device of the same driver.
  virtual bool Fits(const PageTable&) const { return true; }

  bool tracks_dirty() const { return (capabilities() & uapi::IOMMU_HW_CAP_DIRTY_TRACKING) != 0; }
};

}  // namespace fake
