// The calls that take an fd: those of the fake kernel's files go to it.
#include <dirent.h>
#include <linux/close_range.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <vector>

#include "preload/names.h"
#include "preload/own_fds.h"
#include "preload/watches.h"
#include "preload/world.h"

namespace preload {
namespace {

constexpr int kCloseOnExec = CLOSE_RANGE_CLOEXEC;
constexpr int kCloseRangeFlags = CLOSE_RANGE_CLOEXEC | CLOSE_RANGE_UNSHARE;

// Moves the parts one after the other, up to the first that is not moved completely.
template <typename Move>
int64_t MoveParts(const struct iovec* parts, int count, const Move& move) {
  int64_t total = 0;
  for (int i = 0; i < count; ++i) {
    const int64_t moved = move(parts[i], static_cast<uint64_t>(total));
    if (moved < 0) return total > 0 ? total : moved;
    total += moved;
    if (static_cast<std::size_t>(moved) < parts[i].iov_len) break;
  }
  return total;
}

// The requests that each file answers in the same way.
bool IsOfEveryFile(unsigned long request) {
  return request == FIOCLEX || request == FIONCLEX || request == FIONBIO || request == FIOASYNC;
}

// The open fds from `first` to `last`, in ascending order.
std::vector<int> OpenFds(unsigned first, unsigned last) {
  std::vector<int> fds;
  DIR* folder = TheReal().opendir("/proc/self/fd");
  if (!folder) return fds;
  while (const dirent* entry = readdir(folder)) {
    const int fd = std::atoi(entry->d_name);
    const auto number = static_cast<unsigned>(fd);
    if (entry->d_name[0] != '.' && fd != dirfd(folder) && number >= first && number <= last) fds.push_back(fd);
  }
  closedir(folder);
  std::ranges::sort(fds);
  return fds;
}

// After a write that can have signaled an eventfd: as in the kernel, what the signal causes happens before the write
// returns.
void Serve() {
  auto* kernel = KernelIfAny();
  if (!kernel) return;
  const int saved = errno;
  const kernel::OwnCalls own;
  kernel->ServeSignals();
  errno = saved;
}

int RefuseOwnFd() {
  errno = EBADF;
  return -1;
}

}  // namespace

int Run_close(int fd) {
  if (IsOwnCall()) {
    ForgetOwnFd(fd);
    return TheReal().close(fd);
  }
  if (IsOwnFd(fd)) return RefuseOwnFd();
  if (IsVforkChild()) return TheReal().close(fd);
  ForgetWatches(fd);
  if (FakeCall fake(fd); fake) return fake.Return(fake->Close(fd));
  return TheReal().close(fd);
}

int Run_close_range(unsigned first, unsigned last, int flags) {
  // glibc has a function for it since 2.34.
  if (IsOwnCall() || Folder().empty()) {
    return static_cast<int>(TheReal().syscall(SYS_close_range, first, last, flags, 0, 0, 0));
  }
  if (first > last || (flags & ~kCloseRangeFlags) != 0) {
    errno = EINVAL;
    return -1;
  }
  for (const int fd : OpenFds(first, last)) {
    if (IsOwnFd(fd)) continue;
    if ((flags & kCloseOnExec) != 0) {
      TheReal().fcntl(fd, F_SETFD, FD_CLOEXEC);
    } else {
      Run_close(fd);
    }
  }
  return 0;
}

int Run_dup(int fd) {
  if (IsOwnCall()) return KeepOwnFd(TheReal().dup(fd));
  return TheReal().dup(fd);
}

int Run_dup3(int fd, int number, int flags) {
  if (IsOwnCall() || IsVforkChild() || fd == number) return TheReal().dup3(fd, number, flags);
  if (IsOwnFd(number)) return RefuseOwnFd();
  // It closes `number`, which the fake kernel must see. So the fd is closed under another number, afterwards.
  int closed = -1;
  if (FakeCall fake(number); fake) closed = KeepOwnFd(TheReal().fcntl(number, F_DUPFD_CLOEXEC, 0));
  const int result = TheReal().dup3(fd, number, flags);
  if (result >= 0) ForgetWatches(number);
  if (closed >= 0) {
    const FakeCall fake(closed);
    if (fake) fake->Close(closed);
  }
  return result;
}

int Run_dup2(int fd, int number) {
  if (IsOwnCall() || IsVforkChild() || fd == number) return TheReal().dup2(fd, number);
  return Run_dup3(fd, number, 0);
}

int Run_fcntl(int fd, int command, long argument) {
  if (IsOwnCall()) {
    const int result = TheReal().fcntl(fd, command, argument);
    return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? KeepOwnFd(result) : result;
  }
  if (command == F_ADD_SEALS || command == F_GET_SEALS) {
    if (FakeCall fake(fd); fake) return fake.Return(-EINVAL);  // it is a memfd only in truth
  }
  return TheReal().fcntl(fd, command, argument);
}

int Run_ioctl(int fd, unsigned long request, void* argument) {
  if (!IsOfEveryFile(request)) {
    // As in the kernel, the upper half of the request is not looked at.
    if (FakeCall fake(fd); fake) return fake.Return(fake->Ioctl(fd, static_cast<unsigned>(request), argument));
  }
  return TheReal().ioctl(fd, request, argument);
}

ssize_t Run_read(int fd, void* buffer, std::size_t size) {
  if (FakeCall fake(fd); fake) return fake.Return(fake->Read(fd, buffer, size));
  return TheReal().read(fd, buffer, size);
}

ssize_t Run_write(int fd, const void* buffer, std::size_t size) {
  if (FakeCall fake(fd); fake) return fake.Return(fake->Write(fd, buffer, size));
  const ssize_t written = TheReal().write(fd, buffer, size);
  if (written == sizeof(uint64_t) && !IsOwnCall()) Serve();
  return written;
}

ssize_t Run_pread64(int fd, void* buffer, std::size_t size, off_t offset) {
  if (FakeCall fake(fd); fake) return fake.Return(fake->Pread(fd, buffer, size, static_cast<uint64_t>(offset)));
  return TheReal().pread64(fd, buffer, size, offset);
}

ssize_t Run_pwrite64(int fd, const void* buffer, std::size_t size, off_t offset) {
  if (FakeCall fake(fd); fake) return fake.Return(fake->Pwrite(fd, buffer, size, static_cast<uint64_t>(offset)));
  return TheReal().pwrite64(fd, buffer, size, offset);
}

ssize_t Run_readv(int fd, const struct iovec* parts, int count) {
  if (FakeCall fake(fd); fake) {
    return fake.Return(MoveParts(
        parts, count, [&](const iovec& part, uint64_t) { return fake->Read(fd, part.iov_base, part.iov_len); }));
  }
  return TheReal().readv(fd, parts, count);
}

ssize_t Run_writev(int fd, const struct iovec* parts, int count) {
  if (FakeCall fake(fd); fake) {
    return fake.Return(MoveParts(
        parts, count, [&](const iovec& part, uint64_t) { return fake->Write(fd, part.iov_base, part.iov_len); }));
  }
  return TheReal().writev(fd, parts, count);
}

ssize_t Run_preadv64(int fd, const struct iovec* parts, int count, off_t offset) {
  if (FakeCall fake(fd); fake) {
    const auto start = static_cast<uint64_t>(offset);
    return fake.Return(MoveParts(parts, count, [&](const iovec& part, uint64_t at) {
      return fake->Pread(fd, part.iov_base, part.iov_len, start + at);
    }));
  }
  return TheReal().preadv64(fd, parts, count, offset);
}

ssize_t Run_preadv64v2(int fd, const struct iovec* parts, int count, off_t offset, int flags) {
  if (!IsOwnCall()) {
    bool is_fake = false;
    if (FakeCall fake(fd); fake) is_fake = true;
    if (is_fake) return offset == -1 ? Run_readv(fd, parts, count) : Run_preadv64(fd, parts, count, offset);
  }
  return TheReal().preadv64v2(fd, parts, count, offset, flags);
}

ssize_t Run_pwritev64(int fd, const struct iovec* parts, int count, off_t offset) {
  if (FakeCall fake(fd); fake) {
    const auto start = static_cast<uint64_t>(offset);
    return fake.Return(MoveParts(parts, count, [&](const iovec& part, uint64_t at) {
      return fake->Pwrite(fd, part.iov_base, part.iov_len, start + at);
    }));
  }
  return TheReal().pwritev64(fd, parts, count, offset);
}

off_t Run_lseek64(int fd, off_t offset, int whence) {
  if (FakeCall fake(fd); fake) return fake.Return(fake->Lseek(fd, offset, whence));
  return TheReal().lseek64(fd, offset, whence);
}

int Run_memfd_create(const char* name, unsigned flags) {
  const int fd = TheReal().memfd_create(name, flags);
  return IsOwnCall() ? KeepOwnFd(fd) : fd;
}

int Run_eventfd(unsigned count, int flags) {
  const int fd = TheReal().eventfd(count, flags);
  return IsOwnCall() ? KeepOwnFd(fd) : fd;
}

int Run_epoll_create1(int flags) {
  const int fd = TheReal().epoll_create1(flags);
  return IsOwnCall() ? KeepOwnFd(fd) : fd;
}

}  // namespace preload
