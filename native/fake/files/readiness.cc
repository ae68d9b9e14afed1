// Updates the eventfd that shows a file's readiness.
#include "fake/files/readiness.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>

namespace fake {

Readiness::~Readiness() {
  if (eventfd_ >= 0) close(eventfd_);
}

int Readiness::Watch(bool ready) {
  if (eventfd_ < 0) eventfd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (eventfd_ < 0) return -errno;
  Set(ready);
  const int copy = fcntl(eventfd_, F_DUPFD_CLOEXEC, 0);
  return copy < 0 ? -errno : copy;
}

void Readiness::Set(bool ready) {
  if (eventfd_ < 0 || ready == ready_) return;
  ready_ = ready;
  eventfd_t count = 1;
  [[maybe_unused]] const int done = ready ? eventfd_write(eventfd_, count) : eventfd_read(eventfd_, &count);
}

}  // namespace fake
