// The ioctls of a VFIO container (/dev/vfio/vfio) and of the IOMMU behind it (type 1), one typed function each. They
// work on an iommufd, too, as far as that plays a container (drivers/iommu/iommufd/vfio_compat.c).
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/fd.h"
#include "core/mapping.h"
#include "core/vfio.h"

namespace core {

class VfioContainer {
 public:
  explicit VfioContainer(std::shared_ptr<Fd> fd) : fd_(std::move(fd)) {}

  int GetApiVersion() const;
  int CheckExtension(uint32_t extension) const;
  void SetIommu(uint32_t type) const;
  InfoWithCapabilities<uapi::vfio_iommu_type1_info> GetInfo() const;

  // Maps `pages` from `start` on; they must last as long as what is mapped. `flags` are VFIO_DMA_MAP_FLAG_*: with
  // _VADDR alone the address becomes that of a mapping whose old one is invalid.
  void MapDma(const Mapping& pages, uint64_t start, uint64_t iova, uint32_t flags) const;
  // Returns the bytes that were unmapped, or, with VFIO_DMA_UNMAP_FLAG_VADDR, whose addresses are invalid now.
  uint64_t UnmapDma(uint64_t iova, uint64_t size, uint32_t flags) const;

  // A bit for each page, the first in the lowest bit of the first word.
  struct DirtyPages {
    uint64_t unmapped;
    std::vector<uint64_t> bitmap;
  };
  DirtyPages UnmapDmaDirty(uint64_t iova, uint64_t size, uint64_t page_size) const;
  void TrackDirtyPages(bool start) const;
  std::vector<uint64_t> GetDirtyPages(uint64_t iova, uint64_t size, uint64_t page_size) const;

 private:
  std::shared_ptr<Fd> fd_;
};

}  // namespace core
