// A memfd, and its mapping in this process.
#include "fake/vfio/bar_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <new>

#include "kernel/kernel.h"

namespace fake {

BarMemory::BarMemory(uint64_t size) : size_(size), fd_(memfd_create("fake-bar", MFD_CLOEXEC)) {
  if (fd_ < 0) throw std::bad_alloc();
  void* address = MAP_FAILED;
  if (ftruncate(fd_, static_cast<off_t>(size)) == 0) {
    address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
  }
  if (address == MAP_FAILED) {
    close(fd_);
    throw std::bad_alloc();
  }
  bytes_ = static_cast<uint8_t*>(address);
}

BarMemory::~BarMemory() {
  munmap(bytes_, size_);
  close(fd_);
}

int BarMemory::Map(std::size_t length, int protection, int flags, uint64_t offset, void** address) const {
  const int placed = MAP_SHARED | (flags & kernel::kPlacement);
  void* mapped = mmap(*address, length, protection, placed, fd_, static_cast<off_t>(offset));
  if (mapped == MAP_FAILED) return -errno;
  *address = mapped;
  return 0;
}

}  // namespace fake
