// The SIGBUS handler, and the accesses that it guards.
#include "core/bus_error.h"

#include <sys/mman.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <mutex>
#include <utility>

namespace core {

thread_local sigjmp_buf* bus_error_return = nullptr;

namespace {

struct sigaction previous;

// Read by the signal handler, in any thread, without a lock: nodes are never freed, but used again.
struct ZeroRange {
  std::atomic<uintptr_t> start = 0;  // 0: free
  std::atomic<uintptr_t> end = 0;
  ZeroRange* next = nullptr;
};
std::atomic<ZeroRange*> zero_ranges = nullptr;
std::mutex zero_ranges_changing;

// Async-signal-safe. False: the address is in none, or the system has no page left.
bool BecomeZeros(const void* address) {
  const auto at = reinterpret_cast<uintptr_t>(address);
  for (const ZeroRange* range = zero_ranges; range; range = range->next) {
    const uintptr_t start = range->start;
    const uintptr_t end = range->end;
    if (start == 0 || at < start || at >= end) continue;
    const int protection = PROT_READ | PROT_WRITE;
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    return mmap(reinterpret_cast<void*>(start), end - start, protection, flags, -1, 0) != MAP_FAILED;
  }
  return false;
}

void HandleBusError(int signal, siginfo_t* info, void* context) {
  if (bus_error_return) siglongjmp(*std::exchange(bus_error_return, nullptr), 1);
  if (BecomeZeros(info->si_addr)) return;
  if ((previous.sa_flags & SA_SIGINFO) != 0) {
    previous.sa_sigaction(signal, info, context);
  } else if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN) {
    sigaction(signal, &previous, nullptr);  // the access is made again, and ends the process as it would have
  } else {
    previous.sa_handler(signal);
  }
}

}  // namespace

void CatchBusErrors() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action = {};
    action.sa_sigaction = HandleBusError;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;  // left by a jump: the signal must not stay blocked
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &previous);
  });
}

void AddZeroRange(void* start, std::size_t length) {
  const std::lock_guard guard(zero_ranges_changing);
  ZeroRange* range = zero_ranges;
  while (range && range->start != 0) range = range->next;
  const bool is_new = !range;
  if (is_new) range = new ZeroRange;
  range->end = reinterpret_cast<uintptr_t>(start) + length;
  range->start = reinterpret_cast<uintptr_t>(start);
  if (!is_new) return;
  range->next = zero_ranges;
  zero_ranges = range;
}

void RemoveZeroRange(void* start) {
  const std::lock_guard guard(zero_ranges_changing);
  for (ZeroRange* range = zero_ranges; range; range = range->next) {
    if (range->start == reinterpret_cast<uintptr_t>(start)) range->start = 0;
  }
}

}  // namespace core
