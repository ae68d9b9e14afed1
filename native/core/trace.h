// A record of ioctls for an environment: those of its thread, and those that other threads make for it.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernel/mutex.h"
#include "kernel/non_copyable.h"

namespace core {

class Trace : private kernel::NonCopyable {
 public:
  struct Call {
    const char* ioctl;  // the request's name in the kernel's headers
    int fd;
    std::string file;   // what the fd is open on
    int result;         // or a negated errno
    uint64_t start;     // ns, CLOCK_MONOTONIC
    uint64_t duration;  // ns
  };
  struct Calls {
    std::vector<Call> calls;
    std::size_t dropped;  // after these
  };

  Trace() { ++alive; }
  ~Trace() { --alive; }

  void Add(Call call);
  Calls Take();

  // The trace of the environment that this thread works for; nullptr: none.
  static std::shared_ptr<Trace> Current();
  static void SetCurrent(std::shared_ptr<Trace> trace);
  static bool Any() { return alive.load(std::memory_order_relaxed) > 0; }

  // Sets the trace while another thread works for an environment.
  class Scope : private kernel::NonCopyable {
   public:
    explicit Scope(std::shared_ptr<Trace> trace) { SetCurrent(std::move(trace)); }
    ~Scope() { SetCurrent(nullptr); }
  };

 private:
  static inline std::atomic<unsigned> alive = 0;

  kernel::Mutex lock_;
  std::vector<Call> calls_ GUARDED_BY(lock_);
  std::size_t dropped_ GUARDED_BY(lock_) = 0;
};

}  // namespace core
