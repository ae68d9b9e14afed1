// The calls that take a path, without those that return a status (status_calls.cc).
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <string>

#include "preload/names.h"
#include "preload/own_fds.h"
#include "preload/paths.h"
#include "preload/world.h"

namespace preload {
namespace {

constexpr long kSysfsMagic = 0x62656572;  // statfs(2)'s f_type

int Fail(int error) {
  errno = error;
  return -1;
}

// Opens a device node of the fake kernel. Its fds are close-on-exec, unlike those that the program may want.
int OpenNode(const std::string& node, int flags) {
  if ((flags & O_DIRECTORY) != 0) return Fail(ENOTDIR);
  if ((flags & O_CREAT) != 0 && (flags & O_EXCL) != 0) return Fail(EEXIST);
  auto* kernel = Kernel();
  if (!kernel) return Fail(ENODEV);
  const kernel::OwnCalls own;
  const int fd = kernel->Open(node.c_str(), flags);
  if (fd < 0) return Fail(-fd);
  if ((flags & O_CLOEXEC) == 0) TheReal().fcntl(fd, F_SETFD, 0);
  if ((flags & O_NONBLOCK) != 0) TheReal().fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK);
  return fd;
}

// The number N of "/proc/self/fdinfo/N", for this process; -1: another path.
int FdOfInfo(const char* path) {
  const std::string own = "/proc/" + std::to_string(getpid()) + "/fdinfo/";
  for (const std::string& start : {std::string("/proc/self/fdinfo/"), own}) {
    if (strncmp(path, start.c_str(), start.size()) == 0) return std::atoi(path + start.size());
  }
  return -1;
}

// An fd of a file with the text that /proc/self/fdinfo has for a file of the fake kernel; -1: not of the fake kernel.
int OpenInfo(const char* path) {
  if (strncmp(path, "/proc/", 6) != 0) return -1;
  const int fd = FdOfInfo(path);
  if (fd < 0) return -1;
  FakeCall fake(fd);
  if (!fake) return -1;
  std::array<char, 4096> text = {};
  // The position and the flags of the open file are the system's, and the rest is the fake kernel's.
  const int64_t start = fake->LinuxKernel::Fdinfo(fd, text.data(), text.size());
  if (start < 0) return -1;
  const auto used = static_cast<std::size_t>(start);
  const int64_t more = fake->Fdinfo(fd, text.data() + used, text.size() - used);
  const int file = TheReal().memfd_create("fdinfo", MFD_CLOEXEC);
  if (file < 0 || more < 0) return file;
  TheReal().write(file, text.data(), used + static_cast<std::size_t>(more));
  TheReal().lseek64(file, 0, SEEK_SET);
  return file;
}

// Copies a path to the caller's buffer, as realpath(3) and getcwd(2) return it.
char* Return(const std::string& path, char* buffer) {
  if (!buffer) return strdup(path.c_str());
  return static_cast<char*>(std::memcpy(buffer, path.c_str(), path.size() + 1));
}

}  // namespace

int Run_openat(int folder, const char* path, int flags, mode_t mode) {
  if (IsOwnCall()) return KeepOwnFd(TheReal().openat(folder, path, flags, mode));
  const bool follow = (flags & O_NOFOLLOW) == 0;
  const Place place = Find(folder, path, follow);
  if (place.kind == Place::Kind::kHost) {
    const int info = path ? OpenInfo(path) : -1;
    return info >= 0 ? info : TheReal().openat(folder, path, flags, mode);
  }
  if (place.kind == Place::Kind::kFolder) return TheReal().openat(AT_FDCWD, place.path.c_str(), flags, mode);
  if ((flags & O_PATH) != 0) return TheReal().openat(AT_FDCWD, PlaceholderOf(place.path).c_str(), flags, mode);
  return OpenNode(place.path, flags);
}

int Run_open(const char* path, int flags, mode_t mode) { return Run_openat(AT_FDCWD, path, flags, mode); }

FILE* Run_fopen64(const char* path, const char* mode) {
  if (IsOwnCall()) return TheReal().fopen64(path, mode);
  const Place place = Find(AT_FDCWD, path);
  if (place.kind == Place::Kind::kFolder) return TheReal().fopen64(place.path.c_str(), mode);
  const int fd = place.kind == Place::Kind::kNode ? OpenNode(place.path, 0) : OpenInfo(path);
  if (fd < 0) return place.kind == Place::Kind::kNode ? nullptr : TheReal().fopen64(path, mode);
  return fdopen(fd, mode);
}

FILE* Run_fopen(const char* path, const char* mode) { return Run_fopen64(path, mode); }

DIR* Run_opendir(const char* path) { return TheReal().opendir(ChangedPath(AT_FDCWD, path).path()); }

int Run_scandir(const char* path, struct dirent*** list, Filter filter, Compare compare) {
  return TheReal().scandir(ChangedPath(AT_FDCWD, path).path(), list, filter, compare);
}

int Run_glob(const char* pattern, int flags, GlobError error, glob_t* out) {
  const ChangedPath changed(AT_FDCWD, pattern);
  const bool is_absolute = pattern && pattern[0] == '/' && !changed.IsHost();
  const int result = TheReal().glob(is_absolute ? changed.path() : pattern, flags, error, out);
  if (result != 0 || !is_absolute) return result;
  const std::size_t skipped = (flags & GLOB_DOOFFS) != 0 ? out->gl_offs : 0;
  for (std::size_t i = skipped; i < skipped + out->gl_pathc; ++i) {
    std::string path = out->gl_pathv[i];
    HideFolder(&path);
    std::memcpy(out->gl_pathv[i], path.c_str(), path.size() + 1);
  }
  return 0;
}

char* Run_realpath(const char* path, char* resolved) {
  const ChangedPath changed(AT_FDCWD, path);
  std::array<char, PATH_MAX> buffer = {};
  if (IsOwnCall() || Folder().empty()) return TheReal().realpath(path, resolved);
  if (!TheReal().realpath(changed.path(), buffer.data())) return nullptr;
  std::string found = buffer.data();
  HideFolder(&found);
  return Return(found, resolved);
}

ssize_t Run_readlinkat(int folder, const char* path, char* buffer, std::size_t size) {
  if (IsOwnCall() || Folder().empty()) return TheReal().readlinkat(folder, path, buffer, size);
  const ChangedPath changed(folder, path, false);
  std::array<char, PATH_MAX> target = {};
  const ssize_t length = TheReal().readlinkat(folder, changed.path(), target.data(), target.size());
  if (length < 0) return length;
  std::string found(target.data(), static_cast<std::size_t>(length));
  HideFolder(&found);
  // /proc/self/fd/N of a file of the fake kernel
  if (found.starts_with("/memfd:") && changed.IsHost()) {
    const char* name = strrchr(path, '/');
    const int fd = std::atoi(name ? name + 1 : path);
    if (FakeCall fake(fd); fake) {
      const int64_t known = fake->FdPath(fd, target.data(), target.size());
      if (known > 0) found.assign(target.data(), static_cast<std::size_t>(known));
    }
  }
  const std::size_t copied = std::min(size, found.size());
  std::memcpy(buffer, found.data(), copied);
  return static_cast<ssize_t>(copied);
}

int Run_faccessat(int folder, const char* path, int mode, int flags) {
  const ChangedPath changed(folder, path, (flags & AT_SYMLINK_NOFOLLOW) == 0);
  return TheReal().faccessat(folder, changed.path(), mode, flags);
}

int Run_chdir(const char* path) {
  const int result = TheReal().chdir(ChangedPath(AT_FDCWD, path).path());
  if (result == 0) NoteCurrentFolder();
  return result;
}

int Run_fchdir(int folder) {
  const int result = TheReal().fchdir(folder);
  if (result == 0) NoteCurrentFolder();
  return result;
}

char* Run_getcwd(char* buffer, std::size_t size) {
  std::array<char, PATH_MAX> path = {};
  if (IsOwnCall() || Folder().empty()) return TheReal().getcwd(buffer, size);
  if (!TheReal().getcwd(path.data(), path.size())) return nullptr;
  std::string found = path.data();
  HideFolder(&found);
  if (buffer && size <= found.size()) {
    errno = size == 0 ? EINVAL : ERANGE;
    return nullptr;
  }
  return Return(found, buffer);
}

int Run_chmod(const char* path, mode_t mode) {
  const ChangedPath changed(AT_FDCWD, path);
  return changed.IsNode() ? 0 : TheReal().chmod(changed.path(), mode);
}

int Run_chown(const char* path, uid_t user, gid_t group) {
  const ChangedPath changed(AT_FDCWD, path);
  return changed.IsNode() ? 0 : TheReal().chown(changed.path(), user, group);
}

int Run_statfs(const char* path, struct statfs* out) {
  const ChangedPath changed(AT_FDCWD, path);
  const int result = TheReal().statfs(changed.path(), out);
  if (result == 0 && !changed.IsHost() &&
      strncmp(changed.path(), (Folder() + "/sys").c_str(), Folder().size() + 4) == 0)
    out->f_type = kSysfsMagic;
  return result;
}

}  // namespace preload
