// Threads for calls that other programs can make wait: the close of a file that another process sent waits for as long
// as that process likes (a TCP socket with SO_LINGER whose peer does not read, a file of a FUSE server), and so does
// the close of a socket with such files in its queue. Such calls run here, never on an event loop or a thread of
// libuv's pool.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>

#include "kernel/mutex.h"

namespace core {

class SideThreads {
 public:
  // Those of this process. They are never joined: a process may end while a call waits.
  static SideThreads& Get();

  // Runs `work`, which must not throw, on one of at most kMost threads. What waits for a thread is kept in order.
  void Run(std::function<void()> work);

  // Waits until all work that was given has been done, so that a close that need not wait is over when its caller goes
  // on. Work that takes longer than kPatience is not waited for again, and all waits together take at most a twentieth
  // of the time.
  void WaitBriefly();

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr unsigned kMost = 64;
  static constexpr auto kPatience = std::chrono::milliseconds(50);
  static constexpr auto kIdle = std::chrono::seconds(5);  // a thread without work ends after this time
  static constexpr int kShare = 20;

  // The calling thread does work until there has been none for kIdle.
  void Serve();
  bool StartThread() REQUIRES(lock_);

  kernel::Mutex lock_;
  kernel::Condition given_;
  kernel::Condition done_;
  std::deque<std::function<void()>> queue_ GUARDED_BY(lock_);
  unsigned threads_ GUARDED_BY(lock_) = 0;
  unsigned idle_ GUARDED_BY(lock_) = 0;
  uint64_t unfinished_ GUARDED_BY(lock_) = 0;  // given and not done
  uint64_t slow_ GUARDED_BY(lock_) = 0;        // of these: not waited for again
  Clock::duration allowance_ GUARDED_BY(lock_) = kPatience;
  Clock::time_point refilled_ GUARDED_BY(lock_) = Clock::now();
};

}  // namespace core
