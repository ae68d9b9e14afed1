// Counts calls down to the one that fails.
#include "kernel/failing_kernel.h"

namespace kernel {

void FailingKernel::FailCall(uint64_t n, int error) {
  const Lock guard(lock_);
  countdown_ = n;
  error_ = error;
  failed_.reset();
  armed_ = n > 0;
}

std::optional<FailingKernel::Call> FailingKernel::FailedCall() {
  const Lock guard(lock_);
  return failed_;
}

int FailingKernel::CountDown(Call call) {
  const Lock guard(lock_);
  if (countdown_ == 0) return 0;
  --countdown_;
  if (countdown_ > 0) return 0;
  armed_ = false;
  failed_ = call;
  return -error_;
}

}  // namespace kernel
