// An IOAS: the pages that are mapped at its IOVAs, and the IOVAs that the attached devices can use. It follows the
// rules of drivers/iommu/iommufd/io_pagetable.c.
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
  // The page table or device that an entry belongs to.
  using Owner = const void*;

  // Consecutive bytes of one set of pages.
  struct Piece {
    std::shared_ptr<Pages> pages;
    uint64_t offset;          // offset of the first byte in `pages`
    uint64_t alignment_hint;  // the address or offset whose alignment a chosen IOVA keeps
    uint64_t length;
    bool writable;
  };
  // Maps the pieces one after the other. `flags` are IOMMU_IOAS_MAP_*. On success, `*iova` is the first piece's IOVA.
  int Map(const std::vector<Piece>& pieces, uint32_t flags, uint64_t* iova);
  // Finds the pieces that are mapped at the IOVAs. -ENOENT: not all of them are mapped.
  int Find(uint64_t iova, uint64_t length, std::vector<Piece>* pieces) const;
  // iova 0 with length 2^64 - 1 unmaps all.
  int Unmap(uint64_t iova, uint64_t length, uint64_t* unmapped);
  int UnmapRange(uint64_t iova, uint64_t length, uint64_t* unmapped);
  std::vector<uapi::iommu_iova_range> Ranges() const;
  uint64_t alignment() const { return alignment_; }
  // Sets the IOVAs that Map may choose; if `ranges` is empty, all. -EADDRINUSE: some are reserved. -EINVAL: they
  // overlap.
  int Allow(std::vector<uapi::iommu_iova_range> ranges);
  bool huge_pages() const { return huge_pages_; }
  bool has_domains() const { return !domains_.empty(); }
  // The page sizes that all page tables have, as bits, from 4 KiB on.
  uint64_t PageSizes() const;
  // Splits the mapping of `last` and `last` + 1 between them. -EINVAL: it cannot be split.
  int Cut(uint64_t last);
  int SetHugePages(bool enable);
  bool OnlyFiles() const;

  // Adds or removes a page table. While there is one, mappings are pinned. -EADDRINUSE: there is a mapping that the
  // table cannot have; or an errno of Pages::Pin.
  int AddDomain(Owner owner, const Aperture& aperture);
  void RemoveDomain(Owner owner);
  // Reserves IOVAs that a device cannot use. -EADDRINUSE: some are mapped.
  int Reserve(Owner owner, const std::vector<uapi::iommu_iova_range>& ranges);
  void Unreserve(Owner owner);

  // Marks the 4 KiB page of `iova` as written to through a page table. The fake has no larger pages.
  void MarkDirty(Owner owner, uint64_t iova);
  void ClearDirty(Owner owner);
  // The dirty parts of a range, up to the first IOVA that is not mapped.
  std::vector<uapi::iommu_iova_range> ReadDirty(Owner owner, uint64_t first, uint64_t last, bool clear);
  // A driver that accesses the memory with the CPU, for a device without an IOMMU.
  class Accessor {
   public:
    virtual ~Accessor() = default;
    virtual uint64_t alignment() const = 0;  // of the mappings
    // The mapping of this range is being removed.
    virtual void Forget(uint64_t /* first */, uint64_t /* last */) {}
  };
  // Adds or removes a driver. -EADDRINUSE: a mapping does not have the driver's alignment.
  int AddAccess(Accessor* accessor);
  void RemoveAccess(Accessor* accessor);
  // A driver's access to bytes. -ENOENT: not all are mapped; those before were transferred. -EPERM: the mapping
  // does not allow the access.
  int ReadWrite(Access access, uint64_t iova, void* buffer, std::size_t size) const;
  // Pins the pages of a range for a driver, until Unpin() or Accessor::Forget(). The errors are those of ReadWrite().
  int Pin(Access access, uint64_t first, uint64_t last);
  void Unpin(uint64_t first, uint64_t last);
  // Adds the pages that pin the page at this place.
  void AddPinned(const Place& place, std::set<const Pages*>* pinned) const;

  // Prevents that the range is unmapped, until Unlock(). -ENOENT: not all of it is mapped.
  int Lock(uint64_t first, uint64_t last);
  void Unlock(uint64_t first, uint64_t last);

  // Moves bytes page by page, as an IOMMU translates them. A page that faults is left out, and the move continues.
  // Returns the fault of the first such page.
  using Fault = std::pair<uint64_t, const char*>;  // IOVA and reason
  std::optional<Fault> Move(Access access, uint64_t iova, void* buffer, std::size_t size) const;

 private:
  struct Area {
    uint64_t last;
    uint32_t flags;
    Piece piece;
    unsigned locks = 0;
    unsigned pins = 0;
    std::map<Owner, std::set<uint64_t>> dirty = {};  // first IOVAs of the pages
  };
  // Tells the drivers of the range whose mapping is removed.
  void Forget(uint64_t first, uint64_t last) const;
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
  std::vector<Accessor*> accessors_;
  bool huge_pages_ = true;
  std::vector<uapi::iommu_iova_range> allowed_;  // ascending; adjacent ranges are merged
  std::vector<Domain> domains_;
  std::vector<Reserved> reserved_;
  std::map<uint64_t, Area> areas_;  // by first IOVA
  IovaHoles holes_;                 // between the areas
};

}  // namespace fake
