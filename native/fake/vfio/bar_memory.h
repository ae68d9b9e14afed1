// The pages of a memory BAR, shared by every mmap of it and by DMA.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernel/non_copyable.h"

namespace fake {

class BarMemory : private kernel::NonCopyable {
 public:
  explicit BarMemory(uint64_t size);
  ~BarMemory();

  // Maps a part of it once more, at *address where the flags (kernel::kPlacement) ask for a place: 0, or a negated
  // errno.
  int Map(std::size_t length, int protection, int flags, uint64_t offset, void** address) const;
  uint8_t* bytes() const { return bytes_; }

 private:
  uint64_t size_;
  int fd_;
  uint8_t* bytes_;
};

}  // namespace fake
