// Pages that can be mapped in an IOAS: host memory, a memfd, or a peer's BAR. The fake's DMA accesses them through this
// interface.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "kernel/non_copyable.h"

namespace fake {

class Pages : private kernel::NonCopyable {
 public:
  virtual ~Pages() = default;

  // Pins `length` bytes for a device. Returns 0, or the negated errno with which the mapping fails.
  virtual int Pin(uint64_t offset, uint64_t length, bool writable) const = 0;
  // Whether the pages belong to a file and not to a process's memory.
  virtual bool IsFile() const { return false; }
  // Returns false if the bytes cannot be accessed, which is an IOMMU fault.
  virtual bool Read(uint64_t offset, void* buffer, std::size_t size) const = 0;
  virtual bool Write(uint64_t offset, const void* buffer, std::size_t size) const = 0;
};

// This process's memory at `address`. Offsets count from `address`.
std::shared_ptr<Pages> UserPages(uint64_t address, uint64_t length);
// The pages of a memfd, whose fd is duplicated. nullptr: no fd is free.
std::shared_ptr<Pages> FilePages(int fd);

}  // namespace fake
