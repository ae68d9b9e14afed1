// A kernel that forwards each call to another one, and can make one call fail: for tests of what a failure leaves
// behind.
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
    unsigned long request;  // of an ioctl, else 0
  };
  // The n-th call from now (1: the next) fails with `error`, once. 0: none fails.
  void FailCall(uint64_t n, int error);
  // The call that has failed since FailCall().
  std::optional<Call> FailedCall();
  // The kernel that answers.
  const std::shared_ptr<Kernel>& kernel() const { return kernel_; }

#define CALL(result, Method, syscall, parameters, arguments) \
  result Method parameters override {                        \
    const int error = Fail syscall;                          \
    return error != 0 ? error : kernel_->Method arguments;   \
  }
#include "kernel/calls.inc"
#undef CALL

 private:
  // The negated errno with which this call must fail, or 0.
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
