// The bounded list of a trace's calls, and the trace of each thread.
#include "core/trace.h"

namespace core {
namespace {

constexpr std::size_t kMostWaiting = 65536;  // that wait to be taken

thread_local std::shared_ptr<Trace> current;

}  // namespace

std::shared_ptr<Trace> Trace::Current() { return current; }

void Trace::SetCurrent(std::shared_ptr<Trace> trace) { current = std::move(trace); }

void Trace::Add(Call call) {
  const kernel::Lock guard(lock_);
  if (calls_.size() < kMostWaiting) {
    calls_.push_back(std::move(call));
  } else {
    ++dropped_;
  }
}

Trace::Calls Trace::Take() {
  const kernel::Lock guard(lock_);
  return {std::exchange(calls_, {}), std::exchange(dropped_, 0)};
}

}  // namespace core
