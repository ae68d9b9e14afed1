// syscall(2): the system calls of functions that the library replaces go to the replacements.
#include <sys/syscall.h>

#include "preload/names.h"
#include "preload/world.h"

namespace preload {
namespace {

template <typename T>
T* Pointer(long value) {
  return reinterpret_cast<T*>(value);
}

}  // namespace

long Run_syscall(long number, long a, long b, long c, long d, long e, long f) {
  if (IsOwnCall() || Folder().empty()) return TheReal().syscall(number, a, b, c, d, e, f);
  const auto fd = static_cast<int>(a);
  const auto size = static_cast<std::size_t>(c);
  switch (number) {
    case SYS_open:
      return Run_open(Pointer<const char>(a), static_cast<int>(b), static_cast<mode_t>(c));
    case SYS_openat:
      return Run_openat(fd, Pointer<const char>(b), static_cast<int>(c), static_cast<mode_t>(d));
    case SYS_close:
      return Run_close(fd);
    case SYS_close_range:
      return Run_close_range(static_cast<unsigned>(a), static_cast<unsigned>(b), static_cast<int>(c));
    case SYS_dup3:
      return Run_dup3(fd, static_cast<int>(b), static_cast<int>(c));
    case SYS_ioctl:
      return Run_ioctl(fd, static_cast<unsigned long>(b), Pointer<void>(c));
    case SYS_read:
      return Run_read(fd, Pointer<void>(b), size);
    case SYS_write:
      return Run_write(fd, Pointer<void>(b), size);
    case SYS_pread64:
      return Run_pread64(fd, Pointer<void>(b), size, d);
    case SYS_pwrite64:
      return Run_pwrite64(fd, Pointer<void>(b), size, d);
    case SYS_mmap:
      return reinterpret_cast<long>(Run_mmap64(Pointer<void>(a), static_cast<std::size_t>(b), static_cast<int>(c),
                                               static_cast<int>(d), static_cast<int>(e), f));
    case SYS_munmap:
      return Run_munmap(Pointer<void>(a), static_cast<std::size_t>(b));
    case SYS_newfstatat:
      return Run_fstatat(fd, Pointer<const char>(b), Pointer<struct stat>(c), static_cast<int>(d));
    case SYS_fstat:
      return Run_fstat(fd, Pointer<struct stat>(b));
    case SYS_statx:
      return Run_statx(fd, Pointer<const char>(b), static_cast<int>(c), static_cast<unsigned>(d),
                       Pointer<struct statx>(e));
    case SYS_readlinkat:
      return Run_readlinkat(fd, Pointer<const char>(b), Pointer<char>(c), static_cast<std::size_t>(d));
    default:
      return TheReal().syscall(number, a, b, c, d, e, f);
  }
}

}  // namespace preload
