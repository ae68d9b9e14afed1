// The pages of a memory BAR, shared by every mmap of it and by DMA.
#pragma once

#include <cstdint>

namespace fake {

class BarMemory {
 public:
  explicit BarMemory(uint64_t size);
  BarMemory(const BarMemory&) = delete;
  BarMemory& operator=(const BarMemory&) = delete;
  ~BarMemory();

  int fd() const { return fd_; }
  uint8_t* bytes() const { return bytes_; }

 private:
  uint64_t size_;
  int fd_;
  uint8_t* bytes_;
};

}  // namespace fake
