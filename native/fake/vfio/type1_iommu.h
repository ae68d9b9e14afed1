// The IOMMU behind a container: mappings by address, pinned at once. The rules are those of
// drivers/vfio/vfio_iommu_type1.c.
#pragma once

#include <map>
#include <vector>

#include "fake/iommu/bar_mappings.h"
#include "fake/iommu/io_address_space.h"
#include "uapi/vfio.h"

namespace fake {

class Type1Iommu {
 public:
  // `v2`: unmaps whole mappings only, and tracks dirty pages.
  Type1Iommu(const BarMappings& bars, bool v2) : bars_(bars), v2_(v2) {}

  // `group` owns the reserved IOVAs.
  int AttachGroup(IoAddressSpace::Owner group, const Iommu& iommu);
  void DetachGroup(IoAddressSpace::Owner group) { space_.Unreserve(group); }
  int Ioctl(uapi::request_t request, void* argument);
  // `iommu`: none yet.
  static int CheckExtension(const Type1Iommu* iommu, uint64_t extension);

  const IoAddressSpace& space() const { return space_; }

 private:
  struct Dma {
    uint64_t size;
    bool vaddr_invalid;
    std::vector<uint64_t> dirty;  // a bit for each page, and a word more; while dirty pages are tracked
  };
  using DmaList = std::map<uint64_t, Dma>;  // by first IOVA

  // The mapping that has this IOVA.
  DmaList::iterator At(uint64_t iova);
  // Whether the range begins or ends in the middle of a mapping.
  bool Cuts(uint64_t iova, uint64_t last);
  static void Track(Dma& dma);
  static bool TellDirty(const uapi::vfio_bitmap& bitmap, uint64_t base, uint64_t iova, Dma& dma);

  int GetInfo(uapi::vfio_iommu_type1_info& info) const;
  int Map(const uapi::vfio_iommu_type1_dma_map& map);
  int RenewAddress(const uapi::vfio_iommu_type1_dma_map& map);
  int Unmap(uapi::vfio_iommu_type1_dma_unmap& unmap);
  int InvalidateAddresses(uint64_t iova, uint64_t last, uint64_t* invalidated);
  int DirtyPages(const uapi::vfio_iommu_type1_dirty_bitmap& dirty);
  int GetDirtyBitmap(const uapi::vfio_iommu_type1_dirty_bitmap_get& range);

  const BarMappings& bars_;
  bool v2_;
  bool has_domain_ = false;
  bool tracking_ = false;
  unsigned invalid_ = 0;  // number of mappings with an invalid address
  DmaList dmas_;
  IoAddressSpace space_;
};

}  // namespace fake
