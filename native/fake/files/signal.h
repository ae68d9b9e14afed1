// An eventfd that shows whether a queue has entries.
#pragma once

#include <sys/eventfd.h>

#include "kernel/linux_kernel.h"
#include "kernel/non_copyable.h"

namespace fake {

// An eventfd that is readable while the queue is not empty. Event loops watch it instead of the queue's file.
class Signal : private kernel::NonCopyable {
 public:
  Signal() : fd_(kernel_.Eventfd(0, EFD_NONBLOCK)) {}
  ~Signal() {
    if (fd_ >= 0) kernel_.Close(fd_);
  }

  void Set(bool on) {
    uint64_t count = 1;
    kernel_.Read(fd_, &count, sizeof(count));
    count = 1;
    if (on) kernel_.Write(fd_, &count, sizeof(count));
  }
  int Watch() { return fd_ < 0 ? fd_ : kernel_.Dup(fd_); }

 private:
  kernel::LinuxKernel kernel_;
  int fd_;
};

}  // namespace fake
