// Threads for calls that may sleep without bound. They are never joined, so they keep no process from ending; a call
// that sleeps delays no other.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>

#include "kernel/mutex.h"

namespace core {

class Threads {
 public:
  // At most `most` at once, each with a stack of `stack_size` bytes. It must never be destroyed: its threads may
  // outlive the destructors of statics.
  Threads(std::size_t most, std::size_t stack_size) : most_(most), stack_size_(stack_size) {}
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;
  ~Threads() = delete;

  // Runs `work`, which must not throw, on a thread that has nothing else to do; if there are `most` threads, when one
  // of them is free. 0, or a negated errno: there is no thread, and `work` does not run. `work` owns what it touches:
  // it may still run when the process has begun to end.
  int Run(std::function<void()> work);

 private:
  // The calling thread does work until there has been none for some time.
  void Serve();
  int StartThread() REQUIRES(lock_);

  const std::size_t most_;
  const std::size_t stack_size_;
  kernel::Mutex lock_;
  kernel::Condition given_;
  std::deque<std::function<void()>> waiting_ GUARDED_BY(lock_);
  std::size_t threads_ GUARDED_BY(lock_) = 0;
  std::size_t idle_ GUARDED_BY(lock_) = 0;
};

// Those for calls that return promises.
Threads& CallThreads();

}  // namespace core
