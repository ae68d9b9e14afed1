// Runs calls that other programs can block, such as the close of a file that another process sent.
#include "core/side_threads.h"

#include <algorithm>
#include <memory>
#include <utility>

namespace core {

SideThreads& SideThreads::Get() {
  static auto* threads = new SideThreads;  // never destroyed: threads may outlive static objects
  return *threads;
}

void SideThreads::Run(std::function<void()> work) {
  {
    const kernel::Lock guard(lock_);
    ++unfinished_;
  }
  const auto shared = std::make_shared<std::function<void()>>(std::move(work));
  const auto run = [this, shared] {
    (*shared)();
    *shared = nullptr;
    Finish();
  };
  if (threads_.Run(run) < 0) run();
}

void SideThreads::Finish() {
  const kernel::Lock guard(lock_);
  --unfinished_;
  slow_ = std::min(slow_, unfinished_);
  done_.NotifyAll();
}

void SideThreads::WaitBriefly() {
  const kernel::Lock guard(lock_);
  const auto start = Clock::now();
  allowance_ = std::min<Clock::duration>(kPatience, allowance_ + (start - refilled_) / kShare);
  refilled_ = start;
  const auto deadline = start + allowance_;
  while (unfinished_ > slow_ && Clock::now() < deadline) done_.WaitUntil(lock_, deadline);
  slow_ = unfinished_;
  const auto waited = Clock::now() - start;
  if (waited > std::chrono::milliseconds(1)) allowance_ = std::max(Clock::duration::zero(), allowance_ - waited);
}

}  // namespace core
