// Threads for calls that other programs can block without limit: the close of a file that another process sent (a TCP
// socket with SO_LINGER whose peer does not read, a file of a FUSE server), and the close of a socket with such files
// in its queue. Such calls never run on an event loop or on a thread of libuv's pool.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>

#include "core/threads.h"
#include "kernel/mutex.h"

namespace core {

class SideThreads {
 public:
  // The object of this process.
  static SideThreads& Get();

  // Runs `work`, which must not throw, on one of at most kMost threads, or on the calling thread if no thread can be
  // created.
  void Run(std::function<void()> work);

  // Waits until all work is done, but not longer than kPatience, so that a close that does not block is complete when
  // the caller continues. Later calls do not wait for work that a call has waited for in vain. All waits together take
  // at most a twentieth of the time.
  void WaitBriefly();

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::size_t kMost = 64;
  static constexpr std::size_t kStackSize = std::size_t{256} * 1024;
  static constexpr auto kPatience = std::chrono::milliseconds(50);
  static constexpr int kShare = 20;

  void Finish();

  Threads& threads_ = *new Threads(kMost, kStackSize);
  kernel::Mutex lock_;
  kernel::Condition done_;
  uint64_t unfinished_ GUARDED_BY(lock_) = 0;  // work that is not done
  uint64_t slow_ GUARDED_BY(lock_) = 0;        // the part of it that no call waits for again
  Clock::duration allowance_ GUARDED_BY(lock_) = kPatience;
  Clock::time_point refilled_ GUARDED_BY(lock_) = Clock::now();
};

}  // namespace core
