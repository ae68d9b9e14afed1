// A mutex and a condition variable with annotations for Clang's thread safety analysis (npm run check:threads), which
// checks that data is accessed only while its mutex is held. Other compilers ignore the annotations.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#ifdef __clang__
#define VFIO_DMABUF_THREAD_RULE(...) __attribute__((__VA_ARGS__))
#else
#define VFIO_DMABUF_THREAD_RULE(...)
#endif

#define GUARDED_BY(mutex) VFIO_DMABUF_THREAD_RULE(guarded_by(mutex))          // of a variable
#define PT_GUARDED_BY(mutex) VFIO_DMABUF_THREAD_RULE(pt_guarded_by(mutex))    // of a pointer's target
#define REQUIRES(mutex) VFIO_DMABUF_THREAD_RULE(requires_capability(mutex))   // the caller must hold it
#define ASSERT_HELD(mutex) VFIO_DMABUF_THREAD_RULE(assert_capability(mutex))  // after the call it counts as held
#define ACQUIRE(...) VFIO_DMABUF_THREAD_RULE(acquire_capability(__VA_ARGS__))
#define RELEASE(...) VFIO_DMABUF_THREAD_RULE(release_capability(__VA_ARGS__))

namespace kernel {

class VFIO_DMABUF_THREAD_RULE(capability("mutex")) Mutex {
 public:
  void Acquire() ACQUIRE() { mutex_.lock(); }
  void Release() RELEASE() { mutex_.unlock(); }

 private:
  friend class Condition;
  std::mutex mutex_;
};

// A condition variable. A waiting thread releases its mutex during the wait.
class Condition {
 public:
  // Returns after a notification, at the deadline, or spuriously.
  void WaitUntil(Mutex& mutex, std::chrono::steady_clock::time_point deadline) REQUIRES(mutex) {
    std::unique_lock<std::mutex> lock(mutex.mutex_, std::adopt_lock);
    condition_.wait_until(lock, deadline);
    [[maybe_unused]] const auto* still_held = lock.release();
  }
  void NotifyOne() { condition_.notify_one(); }
  void NotifyAll() { condition_.notify_all(); }

 private:
  std::condition_variable condition_;
};

// Holds a mutex to the end of its scope.
class VFIO_DMABUF_THREAD_RULE(scoped_lockable) Lock {
 public:
  explicit Lock(Mutex& mutex) ACQUIRE(mutex) : mutex_(mutex) { mutex_.Acquire(); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  ~Lock() RELEASE() { mutex_.Release(); }

 private:
  Mutex& mutex_;
};

}  // namespace kernel
