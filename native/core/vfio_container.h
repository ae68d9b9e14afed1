// The ioctls of a VFIO container (/dev/vfio/vfio) and of the IOMMU behind it (type 1), one typed function each. Most of
// them also work on an iommufd (drivers/iommu/iommufd/vfio_compat.c).
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

  // Maps `pages` from `start` on; they must outlive the mapping. `flags` are VFIO_DMA_MAP_FLAG_*: _VADDR alone gives a
  // new address to a mapping whose address was made invalid.
  void MapDma(const Mapping& pages, uint64_t start, uint64_t iova, uint32_t flags) const;
  // Returns the number of bytes unmapped, or, with VFIO_DMA_UNMAP_FLAG_VADDR, made invalid.
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
