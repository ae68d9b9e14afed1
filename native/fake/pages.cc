#include "fake/pages.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>

namespace fake {
namespace {

constexpr uint64_t kPageSize = 4096;

class User : public Pages {
 public:
  explicit User(uint64_t address) : address_(address) {}

  // Touching every page is what pinning does, and madvise says where it would have faulted.
  int Pin(uint64_t offset, uint64_t length, bool writable) const override {
    const uint64_t start = (address_ + offset) & ~(kPageSize - 1);
    const uint64_t end = (address_ + offset + length + kPageSize - 1) & ~(kPageSize - 1);
    const int advice = writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
    return madvise(reinterpret_cast<void*>(start), end - start, advice) == 0 ? 0 : -EFAULT;
  }
  // By system call and not by memcpy: memory that JavaScript has let go meanwhile is an error, not a crash.
  bool Read(uint64_t offset, void* buffer, std::size_t size) const override {
    iovec local = {buffer, size};
    iovec remote = {reinterpret_cast<void*>(address_ + offset), size};
    return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size);
  }
  bool Write(uint64_t offset, const void* buffer, std::size_t size) const override {
    iovec local = {const_cast<void*>(buffer), size};
    iovec remote = {reinterpret_cast<void*>(address_ + offset), size};
    return process_vm_writev(getpid(), &local, 1, &remote, 1, 0) == static_cast<ssize_t>(size);
  }

 private:
  uint64_t address_;
};

class Memfd : public Pages {
 public:
  explicit Memfd(int fd) : fd_(fd) {}
  ~Memfd() override { close(fd_); }

  // Only a memfd can be pinned (memfd_pin_folios: EINVAL), and it has no pages past its end.
  int Pin(uint64_t offset, uint64_t length, bool) const override {
    if (fcntl(fd_, F_GET_SEALS) < 0) return -EINVAL;
    struct stat info = {};
    fstat(fd_, &info);
    return offset + length > static_cast<uint64_t>(info.st_size) ? -EINVAL : 0;
  }
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

std::shared_ptr<Pages> UserPages(uint64_t address) { return std::make_shared<User>(address); }

std::shared_ptr<Pages> FilePages(int fd) {
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  return copy < 0 ? nullptr : std::make_shared<Memfd>(copy);
}

}  // namespace fake
