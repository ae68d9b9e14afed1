// stat(2) and its relatives. Device nodes are character devices.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>

#include "preload/names.h"
#include "preload/paths.h"
#include "preload/world.h"

namespace preload {
namespace {

// The number of a device node: its placeholder contains it, as a `dev` file of sysfs does.
dev_t NumberOf(const char* placeholder) {
  const kernel::OwnCalls own;
  std::array<char, 32> text = {};
  const int fd = TheReal().openat(AT_FDCWD, placeholder, O_RDONLY | O_CLOEXEC, 0);
  if (fd < 0) return 0;
  TheReal().read(fd, text.data(), text.size() - 1);
  TheReal().close(fd);
  unsigned major = 0;
  unsigned minor = 0;
  return std::sscanf(text.data(), "%u:%u", &major, &minor) == 2 ? makedev(major, minor) : 0;
}

constexpr mode_t kMode = S_IFCHR | S_IRUSR | S_IWUSR;

int RealFstatat(int folder, const char* path, struct stat* out, int flags) {
  return static_cast<int>(TheReal().syscall(SYS_newfstatat, folder, reinterpret_cast<long>(path),
                                            reinterpret_cast<long>(out), flags, 0, 0));
}

}  // namespace

int Run_fstat(int fd, struct stat* out) {
  if (FakeCall fake(fd); fake) return fake.Return(fake->Fstat(fd, out));
  return static_cast<int>(TheReal().syscall(SYS_fstat, fd, reinterpret_cast<long>(out), 0, 0, 0, 0));
}

int Run_fstatat(int folder, const char* path, struct stat* out, int flags) {
  if (path && path[0] == '\0' && (flags & AT_EMPTY_PATH) != 0 && folder >= 0) return Run_fstat(folder, out);
  const ChangedPath changed(folder, path, (flags & AT_SYMLINK_NOFOLLOW) == 0);
  const int result = RealFstatat(folder, changed.path(), out, flags);
  if (result != 0 || !changed.IsNode()) return result;
  out->st_mode = kMode;
  out->st_rdev = NumberOf(changed.path());
  out->st_size = out->st_blocks = 0;
  return 0;
}

int Run_statx(int folder, const char* path, int flags, unsigned mask, struct statx* out) {
  const ChangedPath changed(folder, path, (flags & AT_SYMLINK_NOFOLLOW) == 0);
  const auto result = static_cast<int>(TheReal().syscall(SYS_statx, folder, reinterpret_cast<long>(changed.path()),
                                                         flags, mask, reinterpret_cast<long>(out), 0));
  if (result != 0) return result;
  dev_t number = 0;
  if (path && path[0] == '\0' && folder >= 0) {
    struct stat info = {};
    FakeCall fake(folder);
    if (!fake || fake->Fstat(folder, &info) != 0 || !S_ISCHR(info.st_mode)) return 0;
    number = info.st_rdev;
  } else if (changed.IsNode()) {
    number = NumberOf(changed.path());
  } else {
    return 0;
  }
  out->stx_mode = kMode;
  out->stx_rdev_major = major(number);
  out->stx_rdev_minor = minor(number);
  out->stx_size = out->stx_blocks = 0;
  return 0;
}

int Run_fstatfs(int fd, struct statfs* out) {
  const int result = TheReal().fstatfs(fd, out);
  if (result != 0) return result;
  if (FakeCall fake(fd); fake) out->f_type = fake->FilesystemMagic(fd);
  return 0;
}

}  // namespace preload
