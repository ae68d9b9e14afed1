// Implements Pages for memory of this process and for memfds.
#include "fake/iommu/pages.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "fake/files/user_memory.h"
#include "kernel/page_size.h"

namespace fake {
namespace {

const uint64_t kSystemPage = kernel::PageSize();

// Keeps shared pages with a second mapping, as pinning does. If the program unmaps the first mapping, the pages stay,
// and DMA does not access a new mapping at its addresses. Private pages and parts of huge pages cannot be mapped twice:
// DMA uses the program's own mapping, and faults when that is gone.
class User : public Pages {
 public:
  User(uint64_t address, uint64_t length)
      : address_(address),
        page_offset_(address % kSystemPage),
        length_((page_offset_ + length + kSystemPage - 1) & ~(kSystemPage - 1)) {
    void* pages = mremap(reinterpret_cast<void*>(address - page_offset_), 0, length_, MREMAP_MAYMOVE);
    if (pages != MAP_FAILED) pages_ = static_cast<char*>(pages);
  }
  ~User() override {
    if (pages_) munmap(pages_, length_);
  }

  // Pinning accesses every page of the program's mapping. madvise(2) reports a page that would fault.
  int Pin(uint64_t, uint64_t, bool writable) const override {
    const int advice = writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
    if (!pinned_ && madvise(WritableUserPointer(address_ - page_offset_), length_, advice) != 0) return -EFAULT;
    pinned_ = true;
    return 0;
  }
  std::optional<int64_t> OffsetOf(const Place& place) const override {
    const uint64_t first = address_ - page_offset_;
    if (place.address < first || place.address - first >= length_) return std::nullopt;
    return static_cast<int64_t>(place.address - address_);
  }
  bool Read(uint64_t offset, void* buffer, std::size_t size) const override {
    if (!pages_) return CopyFromUser(buffer, UserPointer(address_ + offset), size);
    std::memcpy(buffer, pages_ + page_offset_ + offset, size);
    return true;
  }
  bool Write(uint64_t offset, const void* buffer, std::size_t size) const override {
    if (!pages_) return CopyToUser(WritableUserPointer(address_ + offset), buffer, size);
    std::memcpy(pages_ + page_offset_ + offset, buffer, size);
    return true;
  }

 private:
  uint64_t address_;
  uint64_t page_offset_;
  uint64_t length_;
  char* pages_ = nullptr;        // the second mapping; nullptr: there is none
  mutable bool pinned_ = false;  // once; the program may unmap its mapping then
};

class None : public Pages {
 public:
  int Pin(uint64_t, uint64_t, bool) const override { return -EFAULT; }
  bool Read(uint64_t, void*, std::size_t) const override { return false; }
  bool Write(uint64_t, const void*, std::size_t) const override { return false; }
};

class Memfd : public Pages {
 public:
  explicit Memfd(int fd) : fd_(fd) {
    struct statfs filesystem = {};
    struct stat info = {};
    if (fstatfs(fd_, &filesystem) < 0 || filesystem.f_type != kHugetlbfs || fstat(fd_, &info) < 0) return;
    void* pages = mmap(nullptr, static_cast<std::size_t>(info.st_size), PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    if (pages == MAP_FAILED) return;
    huge_pages_ = static_cast<char*>(pages);
    huge_size_ = static_cast<uint64_t>(info.st_size);
  }
  ~Memfd() override {
    if (huge_pages_) munmap(huge_pages_, huge_size_);
    close(fd_);
  }

  // Only a memfd can be pinned (memfd_pin_folios(): EINVAL), and only up to its end.
  int Pin(uint64_t offset, uint64_t length, bool) const override {
    if (fcntl(fd_, F_GET_SEALS) < 0) return -EINVAL;
    struct stat info = {};
    fstat(fd_, &info);
    return offset + length > static_cast<uint64_t>(info.st_size) ? -EINVAL : 0;
  }
  bool IsFile() const override { return true; }
  std::optional<int64_t> OffsetOf(const Place& place) const override {
    struct stat info = {};
    if (fstat(fd_, &info) < 0 || place.device != info.st_dev || place.inode != info.st_ino) return std::nullopt;
    return static_cast<int64_t>(place.offset);
  }
  bool Read(uint64_t offset, void* buffer, std::size_t size) const override {
    return pread(fd_, buffer, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
  }
  bool Write(uint64_t offset, const void* buffer, std::size_t size) const override {
    if (!huge_pages_) return pwrite(fd_, buffer, size, static_cast<off_t>(offset)) == static_cast<ssize_t>(size);
    return offset <= huge_size_ && size <= huge_size_ - offset && CopyToUser(huge_pages_ + offset, buffer, size);
  }

 private:
  static constexpr long kHugetlbfs = 0x958458f6;  // fstatfs(2)'s f_type

  int fd_;
  // A mapping of huge pages: hugetlbfs refuses write(2).
  char* huge_pages_ = nullptr;
  uint64_t huge_size_ = 0;
};

}  // namespace

std::shared_ptr<Pages> UserPages(uint64_t address, uint64_t length) { return std::make_shared<User>(address, length); }

std::shared_ptr<Pages> NoPages() { return std::make_shared<None>(); }

std::shared_ptr<Pages> FilePages(int fd) {
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  return copy < 0 ? nullptr : std::make_shared<Memfd>(copy);
}

}  // namespace fake
