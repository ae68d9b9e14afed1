// Threads that nobody joins.
#include "core/threads.h"

#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <deque>
#include <mutex>
#include <utility>

namespace core {
namespace {

constexpr std::size_t kMostThreads = 1024;  // more calls wait until one of those before them returns
constexpr std::size_t kStackSize = 1 << 20;
constexpr auto kPatience = std::chrono::seconds(5);  // of a thread that has nothing to do

struct Pool {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::unique_ptr<Job>> waiting;
  std::size_t threads = 0;
  std::size_t idle = 0;
};

// Never destroyed: threads may outlive static objects.
Pool& ThePool() {
  static auto* pool = new Pool;
  return *pool;
}

void* Work(void*) {
  Pool& pool = ThePool();
  std::unique_lock lock(pool.mutex);
  for (;;) {
    while (!pool.waiting.empty()) {
      std::unique_ptr<Job> job = std::move(pool.waiting.front());
      pool.waiting.pop_front();
      lock.unlock();
      job->Run();
      job.reset();
      lock.lock();
    }
    ++pool.idle;
    const bool has_work = pool.changed.wait_for(lock, kPatience, [&] { return !pool.waiting.empty(); });
    --pool.idle;
    if (has_work) continue;
    --pool.threads;
    return nullptr;
  }
}

// 0, or a negated errno.
int StartThread() {
  // Signals that are sent to the process are for the threads of those who expect them; faults come in any case.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_attr_t attributes;
  const int failed = pthread_attr_init(&attributes);
  if (failed != 0) return -failed;
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, kStackSize);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const int created = pthread_create(&thread, &attributes, Work, nullptr);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  return -created;
}

}  // namespace

int RunOnThread(std::unique_ptr<Job> job) {
  Pool& pool = ThePool();
  const std::lock_guard lock(pool.mutex);
  if (pool.idle <= pool.waiting.size() && pool.threads < kMostThreads) {
    const int started = StartThread();
    if (started == 0) ++pool.threads;
    if (pool.threads == 0) return started;
  }
  pool.waiting.push_back(std::move(job));
  pool.changed.notify_one();
  return 0;
}

}  // namespace core
