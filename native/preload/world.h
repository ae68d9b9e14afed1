// The fake machine of this process: its folder, which `vfio-dmabuf run` made, and its kernel, which is created when the
// program opens one of the machine's device nodes.
#pragma once

#include <array>
#include <cerrno>
#include <string>

#include "fake/fake_kernel.h"
#include "kernel/own_calls.h"

namespace preload {

// The folder with the machine's sys, dev and description; "": there is none, and no call is changed.
const std::string& Folder();
// The variables of the environment that a child needs to see the machine: "NAME=VALUE" of LD_PRELOAD, VFIO_DMABUF_RUN
// and VFIO_DMABUF_RUN_LOCK.
const std::array<std::string, 3>& Variables();
// Whether a call comes from this library and not from the program.
inline bool IsOwnCall() { return kernel::own_calls > 0; }
// The kernel. nullptr: it cannot be created.
fake::FakeKernel* Kernel();
// The kernel, if it is created already.
fake::FakeKernel* KernelIfAny();
// Whether this is the child of vfork(2), which shares the memory of its parent, but not its fds.
bool IsVforkChild();

// A call of the program to an fd: of the fake kernel, or (false) not. Calls that are made while it exists are own
// calls, and errno stays as it was before it, except for an error of Return().
class FakeCall {
 public:
  explicit FakeCall(int fd) : errno_(errno) {
    if (IsOwnCall()) return;
    kernel_ = KernelIfAny();
    if (!kernel_) return;
    const kernel::OwnCalls own;
    if (kernel_->Plays(fd)) {
      ++kernel::own_calls;
    } else {
      kernel_ = nullptr;
      errno = errno_;
    }
  }
  FakeCall(const FakeCall&) = delete;
  FakeCall& operator=(const FakeCall&) = delete;
  ~FakeCall() {
    if (!kernel_) return;
    --kernel::own_calls;
    errno = errno_;
  }

  explicit operator bool() const { return kernel_ != nullptr; }
  fake::FakeKernel* operator->() const { return kernel_; }
  // -1 and errno for a negated errno.
  template <typename T>
  T Return(T result) {
    if (result >= 0) return result;
    errno_ = static_cast<int>(-result);
    return -1;
  }

 private:
  int errno_;
  fake::FakeKernel* kernel_ = nullptr;
};

}  // namespace preload
