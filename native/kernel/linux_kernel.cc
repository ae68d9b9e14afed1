// Makes Linux's system calls and returns negated errnos.
#include "kernel/linux_kernel.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <string>

namespace kernel {
namespace {

template <typename T>
T OrErrno(T result) {
  return result < 0 ? static_cast<T>(-errno) : result;
}

}  // namespace

int LinuxKernel::Open(const char* path, int flags) { return OrErrno(open(path, flags | O_CLOEXEC)); }

int LinuxKernel::Dup(int fd) { return OrErrno(fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

int LinuxKernel::Close(int fd) { return OrErrno(close(fd)); }

int LinuxKernel::Ioctl(int fd, unsigned long request, void* argument) { return OrErrno(ioctl(fd, request, argument)); }

int64_t LinuxKernel::Pread(int fd, void* buffer, std::size_t size, uint64_t offset) {
  return OrErrno<int64_t>(pread(fd, buffer, size, static_cast<off_t>(offset)));
}

int64_t LinuxKernel::Pwrite(int fd, const void* buffer, std::size_t size, uint64_t offset) {
  return OrErrno<int64_t>(pwrite(fd, buffer, size, static_cast<off_t>(offset)));
}

int64_t LinuxKernel::Read(int fd, void* buffer, std::size_t size) { return OrErrno<int64_t>(read(fd, buffer, size)); }

int64_t LinuxKernel::ReadNow(int fd, void* buffer, std::size_t size) {
  const struct iovec part = {buffer, size};
  return OrErrno<int64_t>(preadv2(fd, &part, 1, -1, RWF_NOWAIT));  // -1: at the file's position, if it has one
}

int64_t LinuxKernel::Write(int fd, const void* buffer, std::size_t size) {
  return OrErrno<int64_t>(write(fd, buffer, size));
}

int64_t LinuxKernel::Lseek(int fd, int64_t offset, int whence) { return OrErrno<int64_t>(lseek(fd, offset, whence)); }

int LinuxKernel::Fstat(int fd, struct stat* out) { return OrErrno(fstat(fd, out)); }

int64_t LinuxKernel::FilesystemMagic(int fd) {
  struct statfs info = {};
  const int result = fstatfs(fd, &info);
  return result < 0 ? -errno : static_cast<int64_t>(info.f_type);
}

int64_t LinuxKernel::Fdinfo(int fd, char* buffer, std::size_t size) {
  // Not the virtual Open(): a derived class may hold its lock here.
  const int info = LinuxKernel::Open(("/proc/self/fdinfo/" + std::to_string(fd)).c_str(), O_RDONLY);
  if (info < 0) return info;
  const int64_t result = OrErrno<int64_t>(read(info, buffer, size));
  close(info);
  return result;
}

int64_t LinuxKernel::FdPath(int fd, char* buffer, std::size_t size) {
  return OrErrno<int64_t>(readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), buffer, size));
}

int LinuxKernel::Eventfd(unsigned count, int flags) { return OrErrno(eventfd(count, flags | EFD_CLOEXEC)); }

int LinuxKernel::Poll(int fd, int events) {
  struct pollfd watched = {fd, static_cast<short>(events), 0};
  const int result = OrErrno(poll(&watched, 1, 0));
  return result < 0 ? result : watched.revents;
}

// Creates an epoll(7) instance that is readable while the file is ready. An event loop sets O_NONBLOCK on the fd that
// it watches, and the flag applies to all users of the open file; here it applies to the epoll instance.
int LinuxKernel::WatchFd(int fd, int* events) {
  const int epoll = OrErrno(epoll_create1(EPOLL_CLOEXEC));
  if (epoll < 0) return epoll;
  struct epoll_event event = {};
  event.events = static_cast<uint32_t>(*events);
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
    const int error = -errno;
    close(epoll);
    return error;
  }
  *events = POLLIN;
  return epoll;
}

int LinuxKernel::MemfdCreate(const char* name, unsigned flags) { return OrErrno(memfd_create(name, flags)); }

int LinuxKernel::Ftruncate(int fd, uint64_t size) { return OrErrno(ftruncate(fd, static_cast<off_t>(size))); }

int LinuxKernel::AddSeals(int fd, int seals) { return OrErrno(fcntl(fd, F_ADD_SEALS, seals)); }

int LinuxKernel::GetSeals(int fd) { return OrErrno(fcntl(fd, F_GET_SEALS)); }

int LinuxKernel::Mmap(std::size_t length, int protection, int flags, int fd, uint64_t offset, MappedPages* out) {
  void* address = mmap(out->address, length, protection, flags, fd, static_cast<off_t>(offset));
  if (address == MAP_FAILED) return -errno;
  out->address = address;
  return 0;
}

int LinuxKernel::Munmap(void* address, std::size_t length) { return OrErrno(munmap(address, length)); }

}  // namespace kernel
