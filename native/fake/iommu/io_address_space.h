// An IOAS: which IOVA leads to which pages, and which IOVAs the attached devices' hardware leaves usable. The rules are
// those of drivers/iommu/iommufd/io_pagetable.c.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "fake/iommu/iommu.h"
#include "fake/iommu/iova_holes.h"
#include "fake/iommu/pages.h"
#include "uapi/iommufd.h"

namespace fake {

enum class Access { kRead, kWrite };

class IoAddressSpace {
 public:
  // The page table or the device that something is noted for.
  using Owner = const void*;

  // Consecutive bytes of one set of pages.
  struct Piece {
    std::shared_ptr<Pages> pages;
    uint64_t offset;          // of the first byte in `pages`
    uint64_t alignment_hint;  // the address or offset whose alignment a chosen IOVA should keep
    uint64_t length;
    bool writable;
  };
  // Maps the pieces one after the other. `flags` are IOMMU_IOAS_MAP_*. On success `iova` is where the first went.
  int Map(const std::vector<Piece>& pieces, uint32_t flags, uint64_t* iova);
  // What the IOVAs lead to: -ENOENT if not all of them are mapped.
  int Find(uint64_t iova, uint64_t length, std::vector<Piece>* pieces) const;
  int Unmap(uint64_t iova, uint64_t length, uint64_t* unmapped);
  std::vector<uapi::iommu_iova_range> Ranges() const;
  uint64_t alignment() const { return alignment_; }
  // Where Map chooses IOVAs; none: everywhere. -EADDRINUSE: some are reserved. -EINVAL: they overlap.
  int Allow(std::vector<uapi::iommu_iova_range> ranges);
  bool huge_pages() const { return huge_pages_; }
  int SetHugePages(bool enable);
  bool OnlyFiles() const;

  // A page table came or went. From the first on mappings are pinned. -EADDRINUSE: a mapping lies where the table can
  // have none; or an errno of Pages::Pin.
  int AddDomain(Owner owner, const Aperture& aperture);
  void RemoveDomain(Owner owner);
  // IOVAs that a device cannot have mapped. -EADDRINUSE: something is.
  int Reserve(Owner owner, const std::vector<uapi::iommu_iova_range>& ranges);
  void Unreserve(Owner owner);

  // What was written to through a page table, in whole 4 KiB pages: the fake has no larger ones.
  void MarkDirty(Owner owner, uint64_t iova);
  void ClearDirty(Owner owner);
  // The dirty parts of a range, up to where nothing is mapped.
  std::vector<uapi::iommu_iova_range> ReadDirty(Owner owner, uint64_t first, uint64_t last, bool clear);
  // A driver that reaches the memory with the CPU, for a device without an IOMMU, came or went: all it wants is whole
  // pages. -EADDRINUSE: a mapping has others.
  int AddAccess();
  void RemoveAccess();
  // What is mapped there cannot be unmapped until it is let go of again. ENOENT: not all of it is mapped.
  int Lock(uint64_t first, uint64_t last);
  void Unlock(uint64_t first, uint64_t last);

  // Moves bytes page by page, as an IOMMU translates. A page that does not translate is left out, and the rest goes on.
  // Returns why the first such page faulted.
  using Fault = std::pair<uint64_t, const char*>;  // IOVA and reason
  std::optional<Fault> Move(Access access, uint64_t iova, void* buffer, std::size_t size) const;

 private:
  struct Area {
    uint64_t last;
    uint32_t flags;
    Piece piece;
    unsigned locks = 0;
    std::map<Owner, std::set<uint64_t>> dirty = {};  // where the pages start
  };
  Area* AreaAt(uint64_t iova, uint64_t* first);
  std::map<uint64_t, Area>::iterator FirstFrom(uint64_t iova);

  struct Reserved {
    uapi::iommu_iova_range range;
    Owner owner;
  };
  struct Domain {
    Owner owner;
    uint64_t page_size;
  };

  int Allocate(uint64_t hint, uint64_t length, uint64_t* iova) const;
  int CheckFree(uint64_t iova, uint64_t length) const;
  int CheckAlignment(uint64_t alignment) const;
  bool AnyArea(uint64_t first, uint64_t last) const;
  uint64_t WantedAlignment() const;

  uint64_t alignment_ = 1;
  unsigned accesses_ = 0;
  bool huge_pages_ = true;
  std::vector<uapi::iommu_iova_range> allowed_;  // ascending; those that touch are one
  std::vector<Domain> domains_;
  std::vector<Reserved> reserved_;
  std::map<uint64_t, Area> areas_;  // by first IOVA
  IovaHoles holes_;                 // between the areas
};

}  // namespace fake
