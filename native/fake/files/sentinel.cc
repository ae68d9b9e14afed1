// Detects open duplicates of an fd with a lock of flock(2).
#include "fake/files/sentinel.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <string>
#include <utility>

namespace fake {

// A lock of flock(2) belongs to the open file description. It ends when the last duplicate of the fd is closed.
bool Sentinel::Watch(int fd) {
  Sentinel made;
  made.own_ = open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDONLY | O_CLOEXEC);
  if (made.own_ < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0) return false;
  std::swap(own_, made.own_);
  return true;
}

Sentinel::~Sentinel() {
  if (own_ >= 0) close(own_);
}

Sentinel::Sentinel(Sentinel&& other) noexcept : own_(std::exchange(other.own_, -1)) {}

Sentinel& Sentinel::operator=(Sentinel&& other) noexcept {
  std::swap(own_, other.own_);
  return *this;
}

bool Sentinel::IsOpen() const { return flock(own_, LOCK_SH | LOCK_NB) < 0; }

}  // namespace fake
