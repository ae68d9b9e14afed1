// The table of BARs that are mapped into this process, for DMA mappings by address (VFIO_IOMMU_MAP_DMA).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>

#include "fake/iommu/pages.h"

namespace fake {

class BarMappings {
 public:
  // Creates the Pages that begin at an offset of the mapping.
  using MakePages = std::function<std::shared_ptr<Pages>(uint64_t offset)>;

  void Add(uint64_t address, uint64_t length, MakePages make);
  // Removes the part of each mapping that is in the range, as munmap(2) does.
  void Remove(uint64_t address, uint64_t length);
  // nullptr: the range is not completely inside a mapped BAR, or the device is destroyed.
  std::shared_ptr<Pages> Find(uint64_t address, uint64_t length) const;

 private:
  struct Entry {
    uint64_t length;
    uint64_t skipped;  // offset of its first byte in the mapping that was added
    MakePages make;
  };
  std::map<uint64_t, Entry> entries_;
};

}  // namespace fake
