// The blocks of a namespace.
#include "fake/models/nvme/namespace.h"

#include <algorithm>
#include <cstring>

namespace fake::nvme {

void Namespace::Format(unsigned index, bool extended) {
  format_ = index;
  extended_ = extended;
  blocks_.clear();
}

std::vector<uint8_t> Namespace::Load(uint64_t first, uint64_t count) const {
  std::vector<uint8_t> data(count * stride());
  for (uint64_t i = 0; i < count; ++i) {
    const auto found = blocks_.find(first + i);
    if (found != blocks_.end()) std::memcpy(&data[i * stride()], found->second.data(), stride());
  }
  return data;
}

void Namespace::Store(uint64_t first, const std::vector<uint8_t>& data) {
  for (std::size_t at = 0; at < data.size(); at += stride(), ++first) {
    const auto start = data.begin() + static_cast<std::ptrdiff_t>(at);
    blocks_[first].assign(start, start + static_cast<std::ptrdiff_t>(stride()));
  }
}

void Namespace::Erase(uint64_t first, uint64_t count) {
  if (count > blocks_.size()) {
    std::erase_if(blocks_, [&](const auto& each) { return each.first >= first && each.first - first < count; });
    return;
  }
  for (uint64_t i = 0; i < count; ++i) blocks_.erase(first + i);
}

}  // namespace fake::nvme
