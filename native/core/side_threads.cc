// Closes files that others sent, where a close may wait.
#include "core/side_threads.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <utility>

namespace core {
namespace {

constexpr std::size_t kStackSize = 256 * 1024;

// A worker thread's end unloads the addon: the code of threads that run must stay.
void KeepLoaded(const void* address) {
  Dl_info info = {};
  if (dladdr(address, &info) != 0) dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}

}  // namespace

SideThreads& SideThreads::Get() {
  static auto* threads = new SideThreads;  // never destroyed: its threads may outlive the destructors of statics
  return *threads;
}

bool SideThreads::StartThread() {
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return false;
  pthread_attr_setstacksize(&attributes, kStackSize);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  // Signals are for the program's own threads.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const auto run = [](void* self) -> void* {
    static_cast<SideThreads*>(self)->Serve();
    return nullptr;
  };
  const int error = pthread_create(&thread, &attributes, run, this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  if (error != 0) return false;
  ++threads_;
  return true;
}

void SideThreads::Run(std::function<void()> work) {
  {
    const kernel::Lock guard(lock_);
    if (threads_ == 0) KeepLoaded(reinterpret_cast<const void*>(&KeepLoaded));
    // One thread for each that waits: those that are stuck are not counted on.
    const bool covered = idle_ > queue_.size() || threads_ >= kMost;
    if (covered || StartThread() || threads_ > 0) {
      queue_.push_back(std::move(work));
      ++unfinished_;
      given_.NotifyOne();
      return;
    }
  }
  work();  // no thread can be made, and none is there
}

void SideThreads::Serve() {
  lock_.Acquire();
  for (;;) {
    const auto deadline = Clock::now() + kIdle;
    ++idle_;
    while (queue_.empty() && Clock::now() < deadline) given_.WaitUntil(lock_, deadline);
    --idle_;
    if (queue_.empty()) break;
    auto work = std::move(queue_.front());
    queue_.pop_front();
    lock_.Release();
    work();
    work = nullptr;  // what it held goes outside the lock, too
    lock_.Acquire();
    --unfinished_;
    slow_ = std::min(slow_, unfinished_);
    done_.NotifyAll();
  }
  --threads_;
  lock_.Release();
}

void SideThreads::WaitBriefly() {
  const kernel::Lock guard(lock_);
  const auto start = Clock::now();
  allowance_ = std::min<Clock::duration>(kPatience, allowance_ + (start - refilled_) / kShare);
  refilled_ = start;
  const auto deadline = start + allowance_;
  while (unfinished_ > slow_ && Clock::now() < deadline) done_.WaitUntil(lock_, deadline);
  slow_ = unfinished_;
  const auto waited = Clock::now() - start;
  if (waited > std::chrono::milliseconds(1)) allowance_ = std::max(Clock::duration::zero(), allowance_ - waited);
}

}  // namespace core
