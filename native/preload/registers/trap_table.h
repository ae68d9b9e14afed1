// The mappings of the fake kernel's files in this process: register BARs, whose accesses are calls, and memory, which
// the fake kernel must know to be mapped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

#include "kernel/kernel.h"
#include "kernel/mutex.h"

namespace preload {

// Registers at an address of this process.
struct TrappedAddress {
  std::shared_ptr<kernel::MmioTrap> trap;  // nullptr: ordinary memory, or nothing
  uint64_t offset = 0;                     // for the trap
  uint64_t left = 0;                       // bytes from here to the end of the mapping
};

class TrapTable {
 public:
  static TrapTable& Get();

  void Add(uintptr_t address, std::size_t length, kernel::MappedPages pages);
  // Removes the part of each mapping that is in the range. Returns whether there was one.
  bool Remove(uintptr_t address, std::size_t length);
  TrappedAddress Find(uintptr_t address);
  // fork(2) is called between these.
  void BeforeFork() ACQUIRE(mutex_) { mutex_.Acquire(); }
  void AfterFork() RELEASE(mutex_) { mutex_.Release(); }
  // Whether a part of the range is registers.
  bool HasTrap(uintptr_t address, std::size_t length);

 private:
  struct Entry {
    std::size_t length;
    uint64_t skipped;  // offset of its first byte in the mapping that was added
    kernel::MappedPages pages;
  };
  // The first mapping that ends after `address`.
  std::map<uintptr_t, Entry>::iterator FirstFrom(uintptr_t address) REQUIRES(mutex_);

  kernel::Mutex mutex_;
  std::map<uintptr_t, Entry> entries_ GUARDED_BY(mutex_);
};

}  // namespace preload
