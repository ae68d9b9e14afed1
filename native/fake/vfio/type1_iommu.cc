// Mapping, unmapping and dirty tracking of a container.
#include "fake/vfio/type1_iommu.h"

#include <array>
#include <cstddef>
#include <cstring>
#include <optional>
#include <vector>

#include "fake/files/user_memory.h"
#include "fake/vfio/info_capabilities.h"

namespace fake {
namespace {

constexpr uint64_t kPageSize = 4096;
constexpr uint64_t kPageSizes = kPageSize | uint64_t{2} << 20 | uint64_t{1} << 30;  // of Intel's IOMMU
constexpr uint64_t kMostMappings = 65535;
constexpr uint64_t kMostBitmapBytes = uint64_t{1} << 28;

constexpr uint64_t BitmapBytes(uint64_t pages) { return (pages + 63) / 64 * 8; }

// verify_bitmap_size()
bool IsBitmapFor(const uapi::vfio_bitmap& bitmap, uint64_t size) {
  const uint64_t pages = bitmap.pgsize == 0 ? 0 : size >> __builtin_ctzll(bitmap.pgsize);
  return pages > 0 && bitmap.size > 0 && bitmap.size <= kMostBitmapBytes && bitmap.size >= BitmapBytes(pages);
}

// What follows a struct in the caller's buffer.
template <typename T, typename Header>
std::optional<T> After(const Header& header) {
  T copied;
  if (!CopyFromUser(&copied, &header + 1, sizeof(copied))) return std::nullopt;
  return copied;
}

// The data of a capability.
template <typename Capability>
std::vector<uint8_t> BehindHeader(const Capability& capability) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(&capability);
  return {bytes + sizeof(capability.header), bytes + sizeof(capability)};
}

}  // namespace

int Type1Iommu::AttachGroup(IoAddressSpace::Owner group, const Iommu& iommu) {
  if (invalid_ > 0) return -EBUSY;
  if (!has_domain_) {
    PageTable table;
    if (const int made = iommu.AllocatePaging(0, nullptr, &table); made != 0) return made;
    if (const int added = space_.AddDomain(this, table.aperture); added != 0) return added;
    has_domain_ = true;
  }
  return space_.Reserve(group, iommu.Reserved()) == 0 ? 0 : -EINVAL;
}

int Type1Iommu::CheckExtension(const Type1Iommu* iommu, uint64_t extension) {
  switch (extension) {
    case uapi::VFIO_TYPE1_IOMMU:
    case uapi::VFIO_TYPE1v2_IOMMU:
    case uapi::VFIO_UNMAP_ALL:
      return 1;
    case uapi::VFIO_UPDATE_VADDR:
      return iommu != nullptr ? 1 : 0;
    default:
      return 0;  // VFIO_DMA_CC_IOMMU, too: QEMU's IOMMU cannot force snooping
  }
}

int Type1Iommu::Ioctl(uapi::request_t request, void* argument) {
  switch (request) {
    case uapi::VFIO_IOMMU_GET_INFO:
      if (!IsThere<std::array<char, offsetof(uapi::vfio_iommu_type1_info, cap_offset)>>(argument)) return -EFAULT;
      return GetInfo(*static_cast<uapi::vfio_iommu_type1_info*>(argument));
    case uapi::VFIO_IOMMU_MAP_DMA:
      if (!IsThere<uapi::vfio_iommu_type1_dma_map>(argument)) return -EFAULT;
      return Map(*static_cast<uapi::vfio_iommu_type1_dma_map*>(argument));
    case uapi::VFIO_IOMMU_UNMAP_DMA:
      return Unmap(*static_cast<uapi::vfio_iommu_type1_dma_unmap*>(argument));
    case uapi::VFIO_IOMMU_DIRTY_PAGES:
      return DirtyPages(*static_cast<uapi::vfio_iommu_type1_dirty_bitmap*>(argument));
    default:
      return -ENOTTY;
  }
}

Type1Iommu::DmaList::iterator Type1Iommu::At(uint64_t iova) {
  const auto next = dmas_.upper_bound(iova);
  if (next == dmas_.begin()) return dmas_.end();
  const auto found = std::prev(next);
  return iova - found->first < found->second.size ? found : dmas_.end();
}

bool Type1Iommu::Cuts(uint64_t iova, uint64_t last) {
  const auto first = At(iova);
  if (first != dmas_.end() && first->first != iova) return true;
  const auto end = At(last);
  return end != dmas_.end() && end->first + (end->second.size - 1) != last;
}

int Type1Iommu::GetInfo(uapi::vfio_iommu_type1_info& info) const {
  if (info.argsz < offsetof(uapi::vfio_iommu_type1_info, cap_offset)) return -EINVAL;
  const uapi::vfio_iommu_type1_info_cap_migration migration = {.pgsize_bitmap = kPageSize,
                                                               .max_dirty_bitmap_size = kMostBitmapBytes};
  const uapi::vfio_iommu_type1_info_dma_avail available = {.avail =
                                                               static_cast<uint32_t>(kMostMappings - dmas_.size())};
  const auto ranges = space_.Ranges();
  const uapi::vfio_iommu_type1_info_cap_iova_range iovas = {.nr_iovas = static_cast<uint32_t>(ranges.size())};
  auto iova_data = BehindHeader(iovas);
  for (const auto& [start, last] : ranges) {
    const uapi::vfio_iova_range range = {start, last};
    const auto* bytes = reinterpret_cast<const uint8_t*>(&range);
    iova_data.insert(iova_data.end(), bytes, bytes + sizeof(range));
  }
  info.flags = uapi::VFIO_IOMMU_INFO_PGSIZES;
  info.iova_pgsizes = kPageSizes;
  const bool added = AddCapabilities(info, uapi::VFIO_IOMMU_INFO_CAPS,
                                     {{uapi::VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION, 1, BehindHeader(migration)},
                                      {uapi::VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, 1, BehindHeader(available)},
                                      {uapi::VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 1, std::move(iova_data)}});
  return added ? 0 : -EFAULT;
}

// vfio_dma_do_map()
int Type1Iommu::Map(const uapi::vfio_iommu_type1_dma_map& map) {
  constexpr uint32_t kAccess = uapi::VFIO_DMA_MAP_FLAG_READ | uapi::VFIO_DMA_MAP_FLAG_WRITE;
  if (map.argsz < sizeof(map) || (map.flags & ~(kAccess | uapi::VFIO_DMA_MAP_FLAG_VADDR)) != 0) return -EINVAL;
  if (map.size == 0) return -EINVAL;
  const uint64_t last = map.iova + (map.size - 1);
  if (last < map.iova || map.vaddr + (map.size - 1) < map.vaddr) return -EOVERFLOW;
  const bool renews = (map.flags & uapi::VFIO_DMA_MAP_FLAG_VADDR) != 0;
  if (((map.flags & kAccess) != 0) == renews) return -EINVAL;
  if ((map.size | map.iova | map.vaddr) % kPageSize != 0) return -EINVAL;
  if (renews) return RenewAddress(map);
  const auto next = dmas_.upper_bound(last);
  if (next != dmas_.begin() && At(map.iova) != dmas_.end()) return -EEXIST;
  if (next != dmas_.begin() && std::prev(next)->first >= map.iova) return -EEXIST;
  if (dmas_.size() >= kMostMappings) return -ENOSPC;
  auto pages = bars_.Find(map.vaddr, map.size);
  if (!pages) pages = UserPages(map.vaddr, map.size);
  const bool writable = (map.flags & uapi::VFIO_DMA_MAP_FLAG_WRITE) != 0;
  const uint32_t readable = (map.flags & uapi::VFIO_DMA_MAP_FLAG_READ) != 0 ? uapi::IOMMU_IOAS_MAP_READABLE : 0;
  const uint32_t flags = uapi::IOMMU_IOAS_MAP_FIXED_IOVA | readable | (writable ? uapi::IOMMU_IOAS_MAP_WRITEABLE : 0);
  const IoAddressSpace::Piece piece = {
      .pages = std::move(pages), .offset = 0, .alignment_hint = map.vaddr, .length = map.size, .writable = writable};
  uint64_t iova = map.iova;
  const int mapped = space_.Map({piece}, flags, &iova);
  if (mapped != 0) return mapped;
  auto& dma = dmas_[map.iova] = {.size = map.size, .vaddr_invalid = false, .dirty = {}};
  if (tracking_) Track(dma);
  return 0;
}

// The pages stay pinned; the address counts for later pinning only.
int Type1Iommu::RenewAddress(const uapi::vfio_iommu_type1_dma_map& map) {
  auto found = At(map.iova);
  if (found == dmas_.end()) {
    const auto next = dmas_.lower_bound(map.iova);
    if (next != dmas_.end() && next->first - map.iova < map.size) found = next;
  }
  if (found == dmas_.end()) return -ENOENT;
  auto& [first, dma] = *found;
  if (!dma.vaddr_invalid || first != map.iova || dma.size != map.size) return -EINVAL;
  dma.vaddr_invalid = false;
  --invalid_;
  return 0;
}

// vfio_dma_do_unmap()
int Type1Iommu::Unmap(uapi::vfio_iommu_type1_dma_unmap& unmap) {
  constexpr uint32_t kDirty = uapi::VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP;
  constexpr uint32_t kAll = uapi::VFIO_DMA_UNMAP_FLAG_ALL;
  constexpr uint32_t kAddresses = uapi::VFIO_DMA_UNMAP_FLAG_VADDR;
  const bool all = (unmap.flags & kAll) != 0;
  const bool dirty = (unmap.flags & kDirty) != 0;
  if (unmap.argsz < sizeof(unmap) || (unmap.flags & ~(kDirty | kAll | kAddresses)) != 0) return -EINVAL;
  if (dirty && (unmap.flags & (kAll | kAddresses)) != 0) return -EINVAL;
  if (dirty && unmap.argsz < sizeof(unmap) + sizeof(uapi::vfio_bitmap)) return -EINVAL;
  const auto given = dirty ? After<uapi::vfio_bitmap>(unmap) : uapi::vfio_bitmap();
  if (!given) return -EFAULT;
  const auto& bitmap = *given;
  if (dirty && !IsBitmapFor(bitmap, unmap.size)) return -EINVAL;
  const uint64_t iova = unmap.iova;
  uint64_t last = ~uint64_t{0};
  if (iova % kPageSize != 0) return -EINVAL;
  if (all) {
    if (iova != 0 || unmap.size != 0) return -EINVAL;
  } else {
    if (unmap.size == 0 || unmap.size % kPageSize != 0) return -EINVAL;
    last = iova + (unmap.size - 1);
    if (last < iova) return -EOVERFLOW;
  }
  if (dirty && (!tracking_ || bitmap.pgsize != kPageSize)) return -EINVAL;
  if (v2_ && !all && Cuts(iova, last)) return -EINVAL;
  uint64_t unmapped = 0;
  if ((unmap.flags & kAddresses) != 0) {
    const int result = InvalidateAddresses(iova, last, &unmapped);
    if (result == 0) unmap.size = unmapped;
    return result;
  }
  // Version 1 unmaps nothing if the range begins inside a mapping, and the whole mapping that it ends in.
  const bool begins_within = At(iova) != dmas_.end() && !dmas_.contains(iova);
  for (auto dma = dmas_.lower_bound(iova); !begins_within && dma != dmas_.end() && dma->first <= last;) {
    auto& [first, entry] = *dma;
    if (dirty && !TellDirty(bitmap, iova, first, entry)) return -EFAULT;
    if (entry.vaddr_invalid) --invalid_;
    uint64_t bytes = 0;
    space_.Unmap(first, entry.size, &bytes);
    unmapped += entry.size;
    dma = dmas_.erase(dma);
  }
  unmap.size = unmapped;
  return 0;
}

// A mapping that is invalid already makes the call fail without effect.
int Type1Iommu::InvalidateAddresses(uint64_t iova, uint64_t last, uint64_t* invalidated) {
  const auto begin = dmas_.lower_bound(iova);
  const auto end = dmas_.upper_bound(last);
  for (auto dma = begin; dma != end; ++dma) {
    if (!dma->second.vaddr_invalid) continue;
    for (auto undone = begin; undone != dma; ++undone) {
      undone->second.vaddr_invalid = false;
      --invalid_;
    }
    return -EINVAL;
  }
  for (auto dma = begin; dma != end; ++dma) {
    dma->second.vaddr_invalid = true;
    ++invalid_;
    *invalidated += dma->second.size;
  }
  return 0;
}

void Type1Iommu::Track(Dma& dma) { dma.dirty.assign(dma.size / kPageSize / 64 + 2, 0); }

// update_user_bitmap(). Every page is dirty: an IOMMU does not record which were written. If the mapping's first page
// is not at the start of a word, the kernel shifts its own bitmap in place and ORs the caller's word into it: bits
// beyond the mapping's pages are never cleared and are reported by the next call.
bool Type1Iommu::TellDirty(const uapi::vfio_bitmap& bitmap, uint64_t base, uint64_t iova, Dma& dma) {
  const uint64_t pages = dma.size / kPageSize;
  for (uint64_t page = 0; page < pages; ++page) dma.dirty[page / 64] |= uint64_t{1} << page % 64;
  const uint64_t first = (iova - base) / kPageSize;
  const uint64_t shift = first % 64;
  const uint64_t words = (pages + shift + 63) / 64;
  const uint64_t out = reinterpret_cast<uint64_t>(bitmap.data) + first / 64 * sizeof(uint64_t);
  if (shift > 0) {
    uint64_t before = 0;
    if (!CopyFromUser(&before, UserPointer(out), sizeof(before))) return false;
    for (uint64_t i = words - 1; i > 0; --i) dma.dirty[i] = dma.dirty[i] << shift | dma.dirty[i - 1] >> (64 - shift);
    dma.dirty[0] = dma.dirty[0] << shift | before;
  }
  return CopyToUser(WritableUserPointer(out), dma.dirty.data(), words * sizeof(uint64_t));
}

// vfio_iommu_type1_dirty_pages()
int Type1Iommu::DirtyPages(const uapi::vfio_iommu_type1_dirty_bitmap& dirty) {
  if (!v2_) return -EACCES;
  if (dirty.argsz < sizeof(dirty)) return -EINVAL;
  switch (dirty.flags) {
    case uapi::VFIO_IOMMU_DIRTY_PAGES_FLAG_START:
      if (!tracking_) {
        for (auto& [iova, dma] : dmas_) Track(dma);
      }
      tracking_ = true;
      return 0;
    case uapi::VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP:
      tracking_ = false;
      return 0;
    case uapi::VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP: {
      if (dirty.argsz < sizeof(dirty) + sizeof(uapi::vfio_iommu_type1_dirty_bitmap_get)) return -EINVAL;
      const auto range = After<uapi::vfio_iommu_type1_dirty_bitmap_get>(dirty);
      return range ? GetDirtyBitmap(*range) : -EFAULT;
    }
    default:
      return -EINVAL;
  }
}

int Type1Iommu::GetDirtyBitmap(const uapi::vfio_iommu_type1_dirty_bitmap_get& range) {
  if (range.size == 0) return -EINVAL;
  const uint64_t last = range.iova + (range.size - 1);
  if (last < range.iova) return -EOVERFLOW;
  if (!IsBitmapFor(range.bitmap, range.size) || range.bitmap.pgsize != kPageSize) return -EINVAL;
  if ((range.iova | range.size) % kPageSize != 0 || !tracking_ || Cuts(range.iova, last)) return -EINVAL;
  for (auto entry = dmas_.lower_bound(range.iova); entry != dmas_.end() && entry->first <= last; ++entry) {
    auto& [iova, dma] = *entry;
    if (!TellDirty(range.bitmap, range.iova, iova, dma)) return -EFAULT;
    for (uint64_t page = 0; page < dma.size / kPageSize; ++page) dma.dirty[page / 64] &= ~(uint64_t{1} << page % 64);
  }
  return 0;
}

}  // namespace fake
