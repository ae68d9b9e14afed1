// Threads for calls that may sleep without bound. They are never joined, so the process can end while they run. A
// sleeping call does not delay other calls, as long as there are fewer than `most`.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>

#include "kernel/mutex.h"
#include "kernel/non_copyable.h"

namespace core {

class Threads : private kernel::NonCopyable {
 public:
  // At most `most` threads, each with a stack of `stack_size` bytes. The object must never be destroyed: its threads
  // may outlive the destructors of static objects.
  Threads(std::size_t most, std::size_t stack_size) : most_(most), stack_size_(stack_size) {}
  ~Threads() = delete;

  // Runs `work`, which must not throw, on an idle or new thread. If `most` threads are busy, `work` waits for one.
  // Returns 0, or a negated errno if there is no thread; `work` then does not run. `work` must own the objects that it
  // uses: it may still run while the process ends.
  int Run(std::function<void()> work);

 private:
  // Runs work on the calling thread until there was none for some time.
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

// The threads for calls that return promises.
Threads& CallThreads();

}  // namespace core
