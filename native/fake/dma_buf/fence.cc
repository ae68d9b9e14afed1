// Signals, deadlines, and the fences that a dma-buf waits for.
#include "fake/dma_buf/fence.h"

#include <algorithm>
#include <ctime>

namespace fake {

void Fence::Signal(int error, uint64_t timestamp) {
  if (signaled_) return;
  signaled_ = true;
  error_ = error;
  timestamp_ = timestamp;
}

void Fence::SetDeadline(uint64_t deadline) {
  if (!signaled_) deadline_ = std::min(deadline_.value_or(deadline), deadline);
}

uint64_t MonotonicNanoseconds() {
  struct timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

std::shared_ptr<Fence> MakeStub(uint64_t timestamp) {
  auto stub = std::make_shared<Fence>(0, 0, "stub");
  stub->Signal(0, timestamp);
  return stub;
}

void FenceHub::Changed() {
  for (FenceWatcher* watcher : watchers_) watcher->FencesChanged();
  ++changes_;
  changes_.notify_all();
}

void Reservation::Add(const std::shared_ptr<Fence>& fence, Usage usage) {
  for (auto& [old, old_usage] : uses_) {
    const bool replaced = old->context() == fence->context() && old_usage >= usage && fence->IsLaterOrSame(*old);
    if (!replaced && !old->signaled()) continue;
    old = fence;
    old_usage = usage;
    return;
  }
  uses_.push_back({fence, usage});
}

Fences Reservation::Pending(bool all) const {
  Fences pending;
  for (const auto& [fence, usage] : uses_) {
    if (!fence->signaled() && (all || usage == Usage::kWrite)) pending.push_back(fence);
  }
  return pending;
}

}  // namespace fake
