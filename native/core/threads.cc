// Starts threads that are never joined, and runs work on them.
#include "core/threads.h"

#include <pthread.h>

#include <chrono>
#include <csignal>
#include <utility>

namespace core {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kIdle = std::chrono::seconds(5);  // a thread that has no work for this time ends
constexpr std::size_t kMostCalls = 1024;         // CallThreads()' limit of threads
constexpr std::size_t kCallStack = 1 << 20;

}  // namespace

Threads& CallThreads() {
  static auto* threads = new Threads(kMostCalls, kCallStack);
  return *threads;
}

int Threads::StartThread() {
  pthread_attr_t attributes;
  const int failed = pthread_attr_init(&attributes);
  if (failed != 0) return -failed;
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, stack_size_);
  // The thread blocks all signals: the kernel delivers the process's signals to the program's other threads. It
  // delivers faults also to a thread that blocks them.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const auto run = [](void* self) -> void* {
    static_cast<Threads*>(self)->Serve();
    return nullptr;
  };
  const int created = pthread_create(&thread, &attributes, run, this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  if (created == 0) ++threads_;
  return -created;
}

int Threads::Run(std::function<void()> work) {
  const kernel::Lock guard(lock_);
  if (idle_ <= waiting_.size() && threads_ < most_) {
    const int started = StartThread();
    if (threads_ == 0) return started;
  }
  waiting_.push_back(std::move(work));
  given_.NotifyOne();
  return 0;
}

void Threads::Serve() {
  lock_.Acquire();
  for (;;) {
    const auto deadline = Clock::now() + kIdle;
    ++idle_;
    while (waiting_.empty() && Clock::now() < deadline) given_.WaitUntil(lock_, deadline);
    --idle_;
    if (waiting_.empty()) break;
    auto work = std::move(waiting_.front());
    waiting_.pop_front();
    lock_.Release();
    work();
    work = nullptr;  // destroys the captured objects without the lock
    lock_.Acquire();
  }
  --threads_;
  lock_.Release();
}

}  // namespace core
