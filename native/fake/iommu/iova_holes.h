// The free IOVAs between an address space's mappings, indexed by size, so that a search for the lowest hole that is
// large enough skips the smaller ones.
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

  // Removes the IOVAs of a new mapping. `first` to `last` must be inside one hole.
  void Take(uint64_t first, uint64_t last) {
    const auto hole = std::prev(holes_.upper_bound(first));
    const auto [start, end] = *hole;
    Erase(hole);
    if (start < first) Insert(start, first - 1);
    if (last < end) Insert(last + 1, end);
  }

  // Adds the IOVAs of a removed mapping.
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

  // The lowest place for a mapping. `place(first, last)` returns its place in a hole, or nullopt.
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
  using Holes = std::map<uint64_t, uint64_t>;  // each hole's last IOVA by its first

  // The exponent of the largest power of two that is not above `length`. A length of 0 means 2^64.
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
  std::array<std::set<uint64_t>, 65> starts_;  // by size class
};

}  // namespace fake
