// An interval map of mappings.
#include "preload/registers/trap_table.h"

#include <iterator>
#include <vector>

namespace preload {

TrapTable& TrapTable::Get() {
  static auto* table = new TrapTable;  // never destroyed: threads may outlive static objects
  return *table;
}

std::map<uintptr_t, TrapTable::Entry>::iterator TrapTable::FirstFrom(uintptr_t address) {
  auto entry = entries_.upper_bound(address);
  if (entry == entries_.begin()) return entry;
  const auto before = std::prev(entry);
  return before->first + before->second.length > address ? before : entry;
}

void TrapTable::Add(uintptr_t address, std::size_t length, kernel::MappedPages pages) {
  Remove(address, length);
  const kernel::Lock guard(mutex_);
  entries_[address] = {length, 0, std::move(pages)};
}

bool TrapTable::Remove(uintptr_t address, std::size_t length) {
  std::vector<Entry> removed;  // destroyed without the lock: a mapping may hold a device
  const kernel::Lock guard(mutex_);
  const uintptr_t end = address + length;
  for (auto entry = FirstFrom(address); entry != entries_.end() && entry->first < end;) {
    const uintptr_t start = entry->first;
    const Entry whole = entry->second;
    entry = entries_.erase(entry);
    if (start < address) entries_[start] = {address - start, whole.skipped, whole.pages};
    const uintptr_t last = start + whole.length;
    if (end < last) entries_[end] = {last - end, whole.skipped + (end - start), whole.pages};
    removed.push_back(whole);
  }
  return !removed.empty();
}

TrappedAddress TrapTable::Find(uintptr_t address) {
  const kernel::Lock guard(mutex_);
  const auto entry = FirstFrom(address);
  if (entry == entries_.end() || entry->first > address || !entry->second.pages.trap) return {};
  const uint64_t offset = address - entry->first;
  return {entry->second.pages.trap, entry->second.skipped + offset, entry->second.length - offset};
}

bool TrapTable::HasTrap(uintptr_t address, std::size_t length) {
  const kernel::Lock guard(mutex_);
  for (auto entry = FirstFrom(address); entry != entries_.end() && entry->first < address + length; ++entry) {
    if (entry->second.pages.trap) return true;
  }
  return false;
}

}  // namespace preload
