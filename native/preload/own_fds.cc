// Keeps the set of own fds.
#include "preload/own_fds.h"

#include <fcntl.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>

#include "preload/names.h"

namespace preload {
namespace {

constexpr int kMostFds = 2048;
constexpr rlim_t kHighest = 16384;  // the kernel's table of fds is as long as the highest number

int First() {
  static const int kFirst = [] {
    struct rlimit limit = {};
    getrlimit(RLIMIT_NOFILE, &limit);
    const auto end = static_cast<int>(std::min(limit.rlim_cur, kHighest));
    return end > 2 * kMostFds ? end - kMostFds : end - end / 4;
  }();
  return kFirst;
}

std::array<std::atomic<bool>, kMostFds> own = {};
std::atomic<int> adopted = -1;

std::atomic<bool>* Find(int fd) {
  const int index = fd - First();
  return index >= 0 && index < kMostFds ? &own.at(static_cast<std::size_t>(index)) : nullptr;
}

}  // namespace

int KeepOwnFd(int fd) {
  if (fd < 0) return fd;
  const int flags = TheReal().fcntl(fd, F_GETFD, 0);
  const int moved = TheReal().fcntl(fd, (flags & FD_CLOEXEC) != 0 ? F_DUPFD_CLOEXEC : F_DUPFD, First());
  if (moved < 0) return fd;
  TheReal().close(fd);
  if (auto* entry = Find(moved)) *entry = true;
  return moved;
}

void AdoptOwnFd(int fd) { adopted = fd; }

int GiveOwnFd(int fd) {
  const int given = TheReal().fcntl(fd, F_DUPFD_CLOEXEC, 0);
  const int error = errno;
  ForgetOwnFd(fd);
  TheReal().close(fd);
  return given < 0 ? -error : given;
}

bool IsOwnFd(int fd) {
  const auto* entry = Find(fd);
  return fd == adopted || (entry && *entry);
}

void ForgetOwnFd(int fd) {
  if (auto* entry = Find(fd)) *entry = false;
}

}  // namespace preload
