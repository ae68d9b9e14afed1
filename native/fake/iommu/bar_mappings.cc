// Finds mapped BARs by address.
#include "fake/iommu/bar_mappings.h"

#include <utility>

namespace fake {

void BarMappings::Add(uint64_t address, uint64_t length, MakePages make) {
  Remove(address, length);
  entries_[address] = {length, 0, std::move(make)};
}

void BarMappings::Remove(uint64_t address, uint64_t length) {
  auto entry = entries_.upper_bound(address);
  if (entry != entries_.begin()) --entry;
  while (entry != entries_.end() && entry->first < address + length) {
    const auto [start, whole] = *entry;
    const uint64_t end = start + whole.length;
    if (end <= address) {
      ++entry;
      continue;
    }
    entry = entries_.erase(entry);
    if (start < address) entries_[start] = {address - start, whole.skipped, whole.make};
    const uint64_t next = address + length;
    if (next < end) entries_[next] = {end - next, whole.skipped + (next - start), whole.make};
  }
}

std::shared_ptr<Pages> BarMappings::Find(uint64_t address, uint64_t length) const {
  const auto next = entries_.upper_bound(address);
  if (next == entries_.begin()) return nullptr;
  const auto& [start, entry] = *std::prev(next);
  const uint64_t offset = address - start;
  return offset < entry.length && length <= entry.length - offset ? entry.make(entry.skipped + offset) : nullptr;
}

}  // namespace fake
