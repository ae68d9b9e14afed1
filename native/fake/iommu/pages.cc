// Implements Pages for memory of this process and for memfds.
#include "fake/iommu/pages.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "kernel/page_size.h"

namespace fake {
namespace {

const uint64_t kSystemPage = kernel::PageSize();

// Keeps shared pages with a second mapping, as pinning does. If the program unmaps the first mapping, the pages stay,
// and DMA does not access a new mapping at its addresses.
class User : public Pages {
 public:
  User(uint64_t address, uint64_t length)
      : page_offset_(address % kSystemPage), length_((page_offset_ + length + kSystemPage - 1) & ~(kSystemPage - 1)) {
    void* pages = mremap(reinterpret_cast<void*>(address - page_offset_), 0, length_, MREMAP_MAYMOVE);
    if (pages != MAP_FAILED) pages_ = static_cast<char*>(pages);
  }
  ~User() override {
    if (pages_) munmap(pages_, length_);
  }

  // Pinning accesses every page. madvise(2) reports a page that would fault.
  int Pin(uint64_t, uint64_t, bool writable) const override {
    const int advice = writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
    return pages_ && madvise(pages_, length_, advice) == 0 ? 0 : -EFAULT;
  }
  bool Read(uint64_t offset, void* buffer, std::size_t size) const override {
    if (pages_) std::memcpy(buffer, pages_ + page_offset_ + offset, size);
    return pages_ != nullptr;
  }
  bool Write(uint64_t offset, const void* buffer, std::size_t size) const override {
    if (pages_) std::memcpy(pages_ + page_offset_ + offset, buffer, size);
    return pages_ != nullptr;
  }

 private:
  uint64_t page_offset_;
  uint64_t length_;
  char* pages_ = nullptr;  // nullptr: the addresses are not mapped, or private memory, which cannot be mapped twice
};

class None : public Pages {
 public:
  int Pin(uint64_t, uint64_t, bool) const override { return -EFAULT; }
  bool Read(uint64_t, void*, std::size_t) const override { return false; }
  bool Write(uint64_t, const void*, std::size_t) const override { return false; }
};

class Memfd : public Pages {
 public:
  explicit Memfd(int fd) : fd_(fd) {}
  ~Memfd() override { close(fd_); }

  // Only a memfd can be pinned (memfd_pin_folios(): EINVAL), and only up to its end.
  int Pin(uint64_t offset, uint64_t length, bool) const override {
    if (fcntl(fd_, F_GET_SEALS) < 0) return -EINVAL;
    struct stat info = {};
    fstat(fd_, &info);
    return offset + length > static_cast<uint64_t>(info.st_size) ? -EINVAL : 0;
  }
  bool IsFile() const override { return true; }
  bool Read(uint64_t offset, void* buffer, std::size_t size) const override {
    return pread(fd_, buffer, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
  }
  bool Write(uint64_t offset, const void* buffer, std::size_t size) const override {
    return pwrite(fd_, buffer, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
  }

 private:
  int fd_;
};

}  // namespace

std::shared_ptr<Pages> UserPages(uint64_t address, uint64_t length) { return std::make_shared<User>(address, length); }

std::shared_ptr<Pages> NoPages() { return std::make_shared<None>(); }

std::shared_ptr<Pages> FilePages(int fd) {
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  return copy < 0 ? nullptr : std::make_shared<Memfd>(copy);
}

}  // namespace fake
