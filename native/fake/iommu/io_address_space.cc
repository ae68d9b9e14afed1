// The interval map of an IOAS: mappings, reserved ranges, page tables, and access by DMA.
#include "fake/iommu/io_address_space.h"

#include <algorithm>
#include <bit>
#include <cerrno>

#include "kernel/page_size.h"

namespace fake {
namespace {

const uint64_t kPageSize = kernel::PageSize();
constexpr uint64_t kHugePageSize = uint64_t{2} << 20;
constexpr uint64_t kTableSizes = uint64_t{1} << 12 | kHugePageSize | uint64_t{1} << 30;  // of the IOMMU's page tables

// The flag of a mapping that allows the access.
uint32_t NeededFor(Access access) {
  return access == Access::kRead ? uapi::IOMMU_IOAS_MAP_READABLE : uapi::IOMMU_IOAS_MAP_WRITEABLE;
}

}  // namespace

// The ranges that are not reserved, in ascending order.
std::vector<uapi::iommu_iova_range> IoAddressSpace::Ranges() const {
  auto reserved = reserved_;
  std::ranges::sort(reserved, {}, [](const Reserved& r) { return r.range.start; });
  std::vector<uapi::iommu_iova_range> ranges;
  uint64_t start = 0;
  for (const auto& [range, _] : reserved) {
    if (range.start > start) ranges.push_back({start, range.start - 1});
    if (range.last == ~uint64_t{0}) return ranges;
    start = std::max(start, range.last + 1);
  }
  ranges.push_back({start, ~uint64_t{0}});
  return ranges;
}

// iopt_alloc_iova(): the lowest free IOVA with the alignment of `hint`, at most a huge page's. The first and the last
// page of the space are never allocated.
int IoAddressSpace::Allocate(uint64_t hint, uint64_t length, uint64_t* iova) const {
  if (length >= ~uint64_t{0} / 2) return -EOVERFLOW;
  uint64_t alignment = std::bit_ceil(length);
  if (hint != 0) alignment = std::min(alignment, uint64_t{1} << std::countr_zero(hint));
  alignment = std::min(alignment, kHugePageSize);
  if (alignment < alignment_) return -EINVAL;
  const uint64_t page_offset = hint % kPageSize;

  static const std::vector<uapi::iommu_iova_range> kEverywhere = {{0, ~uint64_t{0}}};
  const auto ranges = Ranges();
  const auto place = [&](uint64_t hole_first, uint64_t hole_last) -> std::optional<uint64_t> {
    for (const auto& allowed : allowed_.empty() ? kEverywhere : allowed_) {
      for (const auto& range : ranges) {
        const uint64_t first = std::max({range.start, allowed.start, kPageSize, hole_first});
        const uint64_t last = std::min({range.last, allowed.last, ~uint64_t{0} - kPageSize, hole_last});
        const uint64_t start = ((first + alignment - 1) & ~(alignment - 1)) | page_offset;
        if (start >= first && start <= last && last - start >= length - 1) return start;
      }
    }
    return std::nullopt;
  };
  const auto found = holes_.Lowest(length, place);
  if (!found) return -ENOSPC;
  *iova = *found;
  return 0;
}

int IoAddressSpace::CheckFree(uint64_t iova, uint64_t length) const {
  if (iova % alignment_ != 0) return -EINVAL;
  const uint64_t last = iova + (length - 1);
  if (last < iova) return -EOVERFLOW;
  const auto touches = [&](const Reserved& r) { return r.range.start <= last && iova <= r.range.last; };
  if (std::ranges::any_of(reserved_, touches)) return -EINVAL;
  return AnyArea(iova, last) ? -EEXIST : 0;
}

bool IoAddressSpace::AnyArea(uint64_t first, uint64_t last) const {
  const auto next = areas_.upper_bound(last);
  return next != areas_.begin() && std::prev(next)->second.last >= first;
}

// iopt_map_pages()
int IoAddressSpace::Map(const std::vector<Piece>& pieces, uint32_t flags, uint64_t* iova) {
  uint64_t length = 0;
  for (const auto& piece : pieces) length += piece.length;
  if (length == 0 || length % alignment_ != 0) return -EINVAL;
  const bool fixed = (flags & uapi::IOMMU_IOAS_MAP_FIXED_IOVA) != 0;
  const int placed = fixed ? CheckFree(*iova, length) : Allocate(pieces[0].alignment_hint, length, iova);
  if (placed != 0) return placed;
  const bool writable = (flags & uapi::IOMMU_IOAS_MAP_WRITEABLE) != 0;
  for (const auto& piece : pieces) {
    if (writable && !piece.writable) return -EPERM;
    if (piece.alignment_hint % kPageSize % alignment_ != 0) return -EINVAL;
  }
  for (const auto& piece : pieces) {
    const int pinned = !domains_.empty() ? piece.pages->Pin(piece.offset, piece.length, writable) : 0;
    if (pinned != 0) return pinned;
  }
  uint64_t at = *iova;
  for (const auto& piece : pieces) {
    areas_[at] = {at + (piece.length - 1), flags, piece};
    at += piece.length;
  }
  holes_.Take(*iova, *iova + (length - 1));
  return 0;
}

// iopt_get_pages()
int IoAddressSpace::Find(uint64_t iova, uint64_t length, std::vector<Piece>* pieces) const {
  if (length == 0) return -EINVAL;
  const uint64_t last = iova + (length - 1);
  if (last < iova) return -EOVERFLOW;
  auto area = areas_.upper_bound(iova);
  if (area != areas_.begin()) --area;
  for (uint64_t at = iova;; ++area) {
    if (area == areas_.end() || area->first > at || area->second.last < at) return -ENOENT;
    Piece piece = area->second.piece;
    const uint64_t skipped = at - area->first;
    piece.offset += skipped;
    piece.alignment_hint += skipped;
    piece.length = std::min(last, area->second.last) - at + 1;
    pieces->push_back(std::move(piece));
    if (area->second.last >= last) return 0;
    at = area->second.last + 1;
  }
}

int IoAddressSpace::Unmap(uint64_t iova, uint64_t length, uint64_t* unmapped) {
  *unmapped = 0;
  if (iova == 0 && length == ~uint64_t{0}) {
    while (!areas_.empty()) {
      const auto& [first, area] = *areas_.begin();
      if (area.locks > 0) return -EBUSY;
      Forget(first, area.last);
      *unmapped += area.last - first + 1;
      holes_.GiveBack(first, area.last);
      areas_.erase(areas_.begin());
    }
    return 0;
  }
  if (iova == ~uint64_t{0} || length == ~uint64_t{0}) return -EOVERFLOW;
  const int result = UnmapRange(iova, length, unmapped);
  return result == 0 && *unmapped == 0 ? -ENOENT : result;
}

// iopt_unmap_iova_range(): unmaps mapping by mapping, up to one that is only partly in the range.
int IoAddressSpace::UnmapRange(uint64_t iova, uint64_t length, uint64_t* unmapped) {
  *unmapped = 0;
  if (length == 0) return -EINVAL;
  const uint64_t last = iova + (length - 1);
  if (last < iova) return -EOVERFLOW;
  auto area = areas_.upper_bound(iova);
  if (area != areas_.begin() && std::prev(area)->second.last >= iova) --area;
  while (area != areas_.end() && area->first <= last) {
    if (area->second.locks > 0) return -EBUSY;
    if (area->first < iova || area->second.last > last) return -ENOENT;
    Forget(area->first, area->second.last);
    *unmapped += area->second.last - area->first + 1;
    holes_.GiveBack(area->first, area->second.last);
    area = areas_.erase(area);
  }
  return 0;
}

// iopt_area_split()
int IoAddressSpace::Cut(uint64_t last) {
  uint64_t first = 0;
  Area* const area = AreaAt(last, &first);
  if (!area || area->last == last) return 0;
  const uint64_t start = last + 1;
  if (start % alignment_ != 0 || (area->piece.alignment_hint + (start - first)) % alignment_ != 0) return -EINVAL;
  if (area->locks > 0) return -EBUSY;
  Area rest = *area;
  rest.piece.offset += start - first;
  rest.piece.alignment_hint += start - first;
  rest.piece.length -= start - first;
  area->piece.length = start - first;
  area->last = last;
  for (auto& [owner, pages] : area->dirty) {
    rest.dirty[owner].erase(rest.dirty[owner].begin(), rest.dirty[owner].lower_bound(start));
    pages.erase(pages.lower_bound(start), pages.end());
  }
  areas_.emplace(start, std::move(rest));
  return 0;
}

// iommufd_get_pagesizes()
uint64_t IoAddressSpace::PageSizes() const { return domains_.empty() ? ~(kPageSize - 1) : kTableSizes; }

// iopt_check_iova_alignment()
int IoAddressSpace::CheckAlignment(uint64_t alignment) const {
  const bool fits = std::ranges::all_of(areas_, [&](const auto& entry) {
    const auto& [first, area] = entry;
    return (first | (area.last + 1) | area.piece.alignment_hint) % alignment == 0;
  });
  return fits ? 0 : -EADDRINUSE;
}

// iopt_calculate_iova_alignment()
uint64_t IoAddressSpace::WantedAlignment() const {
  uint64_t alignment = huge_pages_ ? 1 : kPageSize;
  for (const auto* accessor : accessors_) alignment = std::max(alignment, accessor->alignment());
  for (const auto& domain : domains_) alignment = std::max(alignment, domain.page_size);
  return alignment;
}

// iopt_disable_large_pages()
int IoAddressSpace::SetHugePages(bool enable) {
  if (enable == huge_pages_) return 0;
  if (!enable && !domains_.empty() && !areas_.empty()) return -EINVAL;
  huge_pages_ = enable;
  const int misaligned = WantedAlignment() > alignment_ ? CheckAlignment(WantedAlignment()) : 0;
  if (misaligned == 0) {
    alignment_ = WantedAlignment();
  } else {
    huge_pages_ = true;
  }
  return misaligned;
}

// iommufd_ioas_load_iovas(), iopt_set_allow_iova()
int IoAddressSpace::Allow(std::vector<uapi::iommu_iova_range> ranges) {
  std::vector<uapi::iommu_iova_range> merged;
  if (std::ranges::any_of(ranges, [](const auto& range) { return range.start >= range.last; })) return -EINVAL;
  std::ranges::sort(ranges, {}, &uapi::iommu_iova_range::start);
  for (const auto& range : ranges) {
    if (merged.empty() || merged.back().last + 1 < range.start) {
      merged.push_back(range);
    } else if (merged.back().last >= range.start) {
      return -EINVAL;
    } else {
      merged.back().last = range.last;
    }
  }
  for (const auto& [start, last] : ranges) {
    const auto touches = [&](const Reserved& r) { return r.range.start <= last && start <= r.range.last; };
    if (std::ranges::any_of(reserved_, touches)) return -EADDRINUSE;
  }
  allowed_ = std::move(merged);
  return 0;
}

bool IoAddressSpace::OnlyFiles() const {
  return std::ranges::all_of(areas_, [](const auto& entry) { return entry.second.piece.pages->IsFile(); });
}

// iopt_reserve_iova()
int IoAddressSpace::Reserve(Owner owner, const std::vector<uapi::iommu_iova_range>& ranges) {
  for (const auto& range : ranges) {
    const auto touches = [&](const auto& r) { return r.start <= range.last && range.start <= r.last; };
    if (AnyArea(range.start, range.last) || std::ranges::any_of(allowed_, touches)) {
      Unreserve(owner);
      return -EADDRINUSE;
    }
    reserved_.push_back({range, owner});
  }
  return 0;
}

void IoAddressSpace::Unreserve(Owner owner) {
  std::erase_if(reserved_, [&](const Reserved& reserved) { return reserved.owner == owner; });
}

// iopt_table_add_domain()
int IoAddressSpace::AddDomain(Owner owner, const Aperture& aperture) {
  const uint64_t alignment = std::max(alignment_, aperture.page_size);
  if (const int misaligned = CheckAlignment(alignment); misaligned != 0) return misaligned;
  std::vector<uapi::iommu_iova_range> outside;
  if (aperture.first != 0) outside.push_back({0, aperture.first - 1});
  if (aperture.last != ~uint64_t{0}) outside.push_back({aperture.last + 1, ~uint64_t{0}});
  if (const int reserved = Reserve(owner, outside); reserved != 0) return reserved;
  if (domains_.empty()) {
    for (const auto& [first, area] : areas_) {
      const bool writable = (area.flags & uapi::IOMMU_IOAS_MAP_WRITEABLE) != 0;
      const int pinned = area.piece.pages->Pin(area.piece.offset, area.piece.length, writable);
      if (pinned == 0) continue;
      Unreserve(owner);
      return pinned;
    }
  }
  domains_.push_back({owner, aperture.page_size});
  alignment_ = alignment;
  return 0;
}

void IoAddressSpace::RemoveDomain(Owner owner) {
  std::erase_if(domains_, [&](const Domain& domain) { return domain.owner == owner; });
  ClearDirty(owner);
  Unreserve(owner);
  alignment_ = WantedAlignment();
}

IoAddressSpace::Area* IoAddressSpace::AreaAt(uint64_t iova, uint64_t* first) {
  const auto next = areas_.upper_bound(iova);
  if (next == areas_.begin() || std::prev(next)->second.last < iova) return nullptr;
  *first = std::prev(next)->first;
  return &std::prev(next)->second;
}

void IoAddressSpace::MarkDirty(Owner owner, uint64_t iova) {
  uint64_t first = 0;
  if (auto* area = AreaAt(iova, &first)) area->dirty[owner].insert(std::max(first, iova & ~(kPageSize - 1)));
}

void IoAddressSpace::ClearDirty(Owner owner) {
  for (auto& [_, area] : areas_) area.dirty.erase(owner);
}

// __iommu_read_and_clear_dirty(): from one area to the next, as long as they are adjacent.
std::vector<uapi::iommu_iova_range> IoAddressSpace::ReadDirty(Owner owner, uint64_t first, uint64_t last, bool clear) {
  std::vector<uapi::iommu_iova_range> ranges;
  uint64_t start = 0;
  for (Area* area = AreaAt(first, &start); area; area = AreaAt(area->last + 1, &start)) {
    auto& pages = area->dirty[owner];
    for (auto page = pages.lower_bound(std::max(start, first & ~(kPageSize - 1))); page != pages.end();) {
      if (*page > last) break;
      const uint64_t end = std::min({*page | (kPageSize - 1), area->last, last});
      ranges.push_back({std::max(*page, first), end});
      page = clear ? pages.erase(page) : std::next(page);
    }
    if (area->last >= last) break;
  }
  return ranges;
}

// iopt_add_access()
int IoAddressSpace::AddAccess(Accessor* accessor) {
  const uint64_t alignment = std::max(alignment_, accessor->alignment());
  if (const int misaligned = CheckAlignment(alignment); misaligned != 0) return misaligned;
  accessors_.push_back(accessor);
  alignment_ = WantedAlignment();
  return 0;
}

void IoAddressSpace::RemoveAccess(Accessor* accessor) {
  accessors_.erase(std::ranges::find(accessors_, accessor));
  alignment_ = WantedAlignment();
}

void IoAddressSpace::Forget(uint64_t first, uint64_t last) const {
  for (auto* accessor : accessors_) accessor->Forget(first, last);
}

// iommufd_access_rw(): from one mapping to the next.
int IoAddressSpace::ReadWrite(Access access, uint64_t iova, void* buffer, std::size_t size) const {
  if (size == 0) return -EINVAL;
  if (iova + (size - 1) < iova) return -EOVERFLOW;
  for (auto* bytes = static_cast<uint8_t*>(buffer); size > 0;) {
    const auto next = areas_.upper_bound(iova);
    if (next == areas_.begin() || std::prev(next)->second.last < iova) return -ENOENT;
    const auto& [first, area] = *std::prev(next);
    if ((area.flags & NeededFor(access)) == 0) return -EPERM;
    const std::size_t chunk = std::min<uint64_t>(size - 1, area.last - iova) + 1;
    const uint64_t offset = area.piece.offset + (iova - first);
    const auto& pages = *area.piece.pages;
    const bool writes = access == Access::kWrite;
    if (!(writes ? pages.Write(offset, bytes, chunk) : pages.Read(offset, bytes, chunk))) return -EFAULT;
    bytes += chunk;
    iova += chunk;
    size -= chunk;
  }
  return 0;
}

// iommufd_access_pin_pages()
int IoAddressSpace::Pin(Access access, uint64_t first, uint64_t last) {
  const auto begin = FirstFrom(first);
  uint64_t next = first;
  auto end = begin;
  for (; end != areas_.end() && end->first <= next && next <= last; ++end) {
    const auto& [start, area] = *end;
    const auto& piece = area.piece;
    if ((piece.alignment_hint + (std::max(first, start) - start)) % kPageSize != 0) return -EINVAL;
    if (area.last < last && (piece.alignment_hint + piece.length) % kPageSize != 0) return -EINVAL;
    if ((area.flags & NeededFor(access)) == 0) return -EPERM;
    const uint64_t from = std::max(first, start);
    const uint64_t to = std::min(last, area.last);
    const bool writable = access == Access::kWrite;
    const int failed = piece.pages->Pin(piece.offset + (from - start), to - from + 1, writable);
    if (failed != 0) return failed;
    next = area.last + 1;
    if (next == 0) break;
  }
  if (next != 0 && next <= last) return -ENOENT;
  for (auto area = begin; area != areas_.end() && area->first <= last; ++area) ++area->second.pins;
  return 0;
}

void IoAddressSpace::Unpin(uint64_t first, uint64_t last) {
  for (auto area = FirstFrom(first); area != areas_.end() && area->first <= last; ++area) --area->second.pins;
}

void IoAddressSpace::AddPinned(const Place& place, std::set<const Pages*>* pinned) const {
  for (const auto& [_, area] : areas_) {
    if (domains_.empty() && area.pins == 0) continue;
    const auto& [pages, offset, hint, length, writable] = area.piece;
    const auto found = pages->OffsetOf(place);
    if (!found) continue;
    // Of whole pages.
    const uint64_t shift = hint % kPageSize;
    const int64_t first = static_cast<int64_t>(offset - shift);
    const int64_t end = static_cast<int64_t>(offset - shift + ((shift + length + kPageSize - 1) & ~(kPageSize - 1)));
    if (first <= *found && *found < end) pinned->insert(pages.get());
  }
}

int IoAddressSpace::Lock(uint64_t first, uint64_t last) {
  uint64_t next = first;
  for (auto area = FirstFrom(first); area != areas_.end() && area->first <= next && next <= last; ++area) {
    next = area->second.last + 1;
  }
  if (next <= last) return -ENOENT;
  for (auto area = FirstFrom(first); area != areas_.end() && area->first <= last; ++area) ++area->second.locks;
  return 0;
}

void IoAddressSpace::Unlock(uint64_t first, uint64_t last) {
  for (auto area = FirstFrom(first); area != areas_.end() && area->first <= last; ++area) --area->second.locks;
}

// The mapping that contains `iova`, or the next one.
std::map<uint64_t, IoAddressSpace::Area>::iterator IoAddressSpace::FirstFrom(uint64_t iova) {
  const auto next = areas_.upper_bound(iova);
  return next != areas_.begin() && std::prev(next)->second.last >= iova ? std::prev(next) : next;
}

std::optional<IoAddressSpace::Fault> IoAddressSpace::Move(Access access, uint64_t iova, void* buffer,
                                                          std::size_t size) const {
  const uint32_t needed = NeededFor(access);
  std::optional<Fault> fault;
  auto* bytes = static_cast<uint8_t*>(buffer);
  while (size > 0) {
    const std::size_t chunk = std::min<uint64_t>(size, kPageSize - iova % kPageSize);
    const auto next = areas_.upper_bound(iova);
    const auto found = next == areas_.begin() ? areas_.end() : std::prev(next);
    const char* reason = nullptr;
    if (found == areas_.end() || found->second.last < iova) {
      reason = "unmapped";
    } else if (const auto& [first, area] = *found; (area.flags & needed) == 0) {
      reason = "forbidden";
    } else {
      const auto& pages = area.piece.pages;
      const uint64_t offset = area.piece.offset + (iova - first);
      const bool moved =
          access == Access::kRead ? pages->Read(offset, bytes, chunk) : pages->Write(offset, bytes, chunk);
      if (!moved) reason = "revoked";
    }
    if (reason && !fault) fault = Fault{iova, reason};
    bytes += chunk;
    iova += chunk;
    size -= chunk;
  }
  return fault;
}

}  // namespace fake
