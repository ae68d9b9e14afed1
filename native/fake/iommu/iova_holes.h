// The IOVAs between an address space's mappings, so that the lowest hole that is large enough is found without looking
// at those that are too small.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <iterator>
#include <map>
#include <optional>
#include <set>

namespace fake {

class IovaHoles {
 public:
  IovaHoles() { Insert(0, ~uint64_t{0}); }

  // A mapping came; all of `first` to `last` is in one hole.
  void Take(uint64_t first, uint64_t last) {
    const auto hole = std::prev(holes_.upper_bound(first));
    const auto [start, end] = *hole;
    Erase(hole);
    if (start < first) Insert(start, first - 1);
    if (last < end) Insert(last + 1, end);
  }

  // A mapping went.
  void GiveBack(uint64_t first, uint64_t last) {
    const auto next = holes_.upper_bound(first);
    if (next != holes_.begin()) {
      const auto before = std::prev(next);
      if (before->second + 1 == first) {
        first = before->first;
        Erase(before);
      }
    }
    if (next != holes_.end() && last + 1 == next->first) {
      last = next->second;
      Erase(next);
    }
    Insert(first, last);
  }

  // `place(first, last)` tells where in a hole the mapping would go. The lowest of these places.
  template <typename Place>
  std::optional<uint64_t> Lowest(uint64_t length, const Place& place) const {
    std::optional<uint64_t> lowest;
    for (std::size_t size = SizeClass(length); size < starts_.size(); ++size) {
      for (const uint64_t start : starts_.at(size)) {
        if (lowest && start >= *lowest) break;
        const std::optional<uint64_t> found = place(start, holes_.at(start));
        if (!found) continue;
        lowest = found;
        break;
      }
    }
    return lowest;
  }

 private:
  using Holes = std::map<uint64_t, uint64_t>;  // the last IOVA of each, by its first

  // The power of two that is not above it. `length`: 0 for 2^64.
  static std::size_t SizeClass(uint64_t length) {
    return length == 0 ? 64 : static_cast<std::size_t>(std::bit_width(length)) - 1;
  }
  void Insert(uint64_t first, uint64_t last) {
    holes_.emplace(first, last);
    starts_.at(SizeClass(last - first + 1)).insert(first);
  }
  void Erase(Holes::const_iterator hole) {
    starts_.at(SizeClass(hole->second - hole->first + 1)).erase(hole->first);
    holes_.erase(hole);
  }

  Holes holes_;
  std::array<std::set<uint64_t>, 65> starts_;  // by size
};

}  // namespace fake
