// IOMMUFD's ioctls, one typed function each, and the IOAS as an owned object.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/iommufd_object.h"
#include "uapi/iommufd.h"

namespace core {

struct IovaRanges {
  std::vector<uapi::iommu_iova_range> ranges;
  uint64_t alignment;
};

// An I/O address space; destroyed with the object (mappings in it go too).
class Ioas : public IommufdObject {
 public:
  static std::shared_ptr<Ioas> Allocate(std::shared_ptr<Fd> iommufd);
  // One that somebody else made: ENOENT if there is none. From now on it is this object's.
  static std::shared_ptr<Ioas> Adopt(std::shared_ptr<Fd> iommufd, uint32_t id);

  // Where a mapping is to go: at `iova`, or where the kernel finds room. `access` is READABLE | WRITEABLE. Each map
  // returns the IOVA.
  struct Placement {
    std::optional<uint64_t> iova;
    uint32_t access;
  };
  uint64_t Map(const void* address, uint64_t length, Placement placement) const;
  uint64_t MapFile(int fd, uint64_t start, uint64_t length, Placement placement) const;

  // A range of a mapping of `source`, here too.
  uint64_t Copy(const Ioas& source, uint64_t source_iova, uint64_t length, Placement placement) const;

  // The number of bytes that were unmapped.
  uint64_t Unmap(uint64_t iova, uint64_t length) const;
  IovaRanges GetIovaRanges() const;
  // Where the kernel may choose IOVAs; none: everywhere.
  void AllowIovas(const std::vector<uapi::iommu_iova_range>& ranges) const;
  // Whether mappings may use the IOMMU's large pages.
  bool HugePages() const;
  void SetHugePages(bool enable) const;

  struct PhysicalRange {
    uint64_t address;
    uint64_t length;
  };
  // Where an IOVA's memory is, and how much of `length` bytes lies there in one piece. Without an IOMMU only.
  PhysicalRange NoIommuGetPhysical(uint64_t iova, uint64_t length) const;

 private:
  using IommufdObject::IommufdObject;
};

// Who is charged for pinned memory: IOMMU_OPTION_RLIMIT_MODE, 0 the user, 1 the process.
uint64_t RlimitMode(const Fd& iommufd);
void SetRlimitMode(const Fd& iommufd, uint64_t mode);
// Charges this process for what another has pinned, which handed the iommufd over.
void ChangeProcess(const Fd& iommufd);
// The IOAS that VFIO's older container requests on this iommufd mean; none: there is none.
std::optional<uint32_t> VfioIoas(const Fd& iommufd);
void SetVfioIoas(const Fd& iommufd, uint32_t ioas);
void ClearVfioIoas(const Fd& iommufd);

}  // namespace core
