// A Kernel that forwards each call to another one and can make one call fail. Tests use it to check what a failed call
// leaves behind.
#pragma once

#include <linux/sockios.h>
#include <sys/ioctl.h>

#include <atomic>
#include <memory>
#include <optional>

#include "kernel/kernel.h"
#include "kernel/mutex.h"

namespace kernel {

class FailingKernel : public Kernel {
 public:
  explicit FailingKernel(std::shared_ptr<Kernel> kernel) : kernel_(std::move(kernel)) {}

  struct Call {
    const char* name;       // of the system call
    unsigned long request;  // of an ioctl; 0 for any other call
  };
  // Makes the n-th call from now (1: the next one) fail with `error`, once. 0: no call fails.
  void FailCall(uint64_t n, int error);
  // The call that failed since FailCall(), if any.
  std::optional<Call> FailedCall();
  // The Kernel that gets the calls.
  const std::shared_ptr<Kernel>& kernel() const { return kernel_; }

#define CALL(result, Method, syscall, parameters, arguments) \
  result Method parameters override {                        \
    const int error = Fail syscall;                          \
    return error != 0 ? error : kernel_->Method arguments;   \
  }
#include "kernel/calls.inc"
#undef CALL

 private:
  // Returns the negated errno with which this call must fail, or 0.
  static int Fail() { return 0; }
  int Fail(const char* name, unsigned long request = 0) { return armed_ ? CountDown({name, request}) : 0; }
  int CountDown(Call call);

  std::shared_ptr<Kernel> kernel_;
  std::atomic<bool> armed_ = false;
  Mutex lock_;
  uint64_t countdown_ GUARDED_BY(lock_) = 0;
  int error_ GUARDED_BY(lock_) = 0;
  std::optional<Call> failed_ GUARDED_BY(lock_);
};

}  // namespace kernel
