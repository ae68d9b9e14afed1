// Finds mapped BARs by address.
#include "fake/iommu/bar_mappings.h"

#include <utility>

namespace fake {

void BarMappings::Add(uint64_t address, uint64_t length, MakePages make) {
  entries_[address] = {length, std::move(make)};
}

void BarMappings::Remove(uint64_t address) { entries_.erase(address); }

std::shared_ptr<Pages> BarMappings::Find(uint64_t address, uint64_t length) const {
  const auto next = entries_.upper_bound(address);
  if (next == entries_.begin()) return nullptr;
  const auto& [start, entry] = *std::prev(next);
  const uint64_t offset = address - start;
  return offset < entry.length && length <= entry.length - offset ? entry.make(offset) : nullptr;
}

bool BarMappings::Touches(uint64_t address, uint64_t length) const {
  const auto next = entries_.upper_bound(address + (length - 1));
  if (next == entries_.begin()) return false;
  const auto& [start, entry] = *std::prev(next);
  return start + entry.length > address;
}

}  // namespace fake
