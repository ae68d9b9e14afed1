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
  // Takes over an existing IOAS. ENOENT: there is none with this id.
  static std::shared_ptr<Ioas> Adopt(std::shared_ptr<Fd> iommufd, uint32_t id);

  // The place of a mapping: at `iova`, or where the kernel chooses. `access` is READABLE | WRITEABLE. Each map returns
  // the IOVA.
  struct Placement {
    std::optional<uint64_t> iova;
    uint32_t access;
  };
  uint64_t Map(const void* address, uint64_t length, Placement placement) const;
  uint64_t MapFile(int fd, uint64_t start, uint64_t length, Placement placement) const;

  // Maps a range of another IOAS's mapping here, too.
  uint64_t Copy(const Ioas& source, uint64_t source_iova, uint64_t length, Placement placement) const;

  // The number of bytes that were unmapped.
  uint64_t Unmap(uint64_t iova, uint64_t length) const;
  IovaRanges GetIovaRanges() const;
  // The ranges in which the kernel may choose IOVAs; none: everywhere.
  void AllowIovas(const std::vector<uapi::iommu_iova_range>& ranges) const;
  // Whether mappings may use the IOMMU's large pages.
  bool HugePages() const;
  void SetHugePages(bool enable) const;

  struct PhysicalRange {
    uint64_t address;
    uint64_t length;
  };
  // The physical address of an IOVA, and how many of `length` bytes are contiguous there. Only for devices without an
  // IOMMU.
  PhysicalRange NoIommuGetPhysical(uint64_t iova, uint64_t length) const;

 private:
  using IommufdObject::IommufdObject;
};

// IOMMU_OPTION_RLIMIT_MODE: pinned memory is charged to the user (0) or to the process (1).
uint64_t RlimitMode(const Fd& iommufd);
void SetRlimitMode(const Fd& iommufd, uint64_t mode);
// Charges this process for the memory that the iommufd's previous process has pinned.
void ChangeProcess(const Fd& iommufd);
// The IOAS that VFIO's container ioctls on this iommufd use, if any.
std::optional<uint32_t> VfioIoas(const Fd& iommufd);
void SetVfioIoas(const Fd& iommufd, uint32_t ioas);
void ClearVfioIoas(const Fd& iommufd);

}  // namespace core
