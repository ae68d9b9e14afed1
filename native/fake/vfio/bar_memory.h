// The pages of a memory BAR, shared by every mmap of it and by DMA.
#pragma once

#include <cstdint>

#include "kernel/non_copyable.h"

namespace fake {

class BarMemory : private kernel::NonCopyable {
 public:
  explicit BarMemory(uint64_t size);
  ~BarMemory();

  int fd() const { return fd_; }
  uint8_t* bytes() const { return bytes_; }

 private:
  uint64_t size_;
  int fd_;
  uint8_t* bytes_;
};

}  // namespace fake
