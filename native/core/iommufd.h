// IOMMUFD's ioctls, one typed function each, and the IOAS as an owned object.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/fd.h"
#include "uapi/iommufd.h"

namespace core {

struct IovaRanges {
  std::vector<uapi::iommu_iova_range> ranges;
  uint64_t alignment;
};

// An I/O address space; destroyed with the object (mappings in it go too).
class Ioas {
 public:
  static std::shared_ptr<Ioas> Allocate(std::shared_ptr<Fd> iommufd);
  Ioas(const Ioas&) = delete;
  Ioas& operator=(const Ioas&) = delete;
  ~Ioas();

  // EBUSY while a device is attached; then the object stays as it was. Again is no error.
  void Destroy();

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

  uint32_t id() const { return id_; }

 private:
  Ioas(std::shared_ptr<Fd> iommufd, uint32_t id) : iommufd_(std::move(iommufd)), id_(id) {}

  std::shared_ptr<Fd> iommufd_;
  uint32_t id_;  // 0: destroyed
};

}  // namespace core
