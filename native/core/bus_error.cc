// The SIGBUS handler, the handlers that it calls for other signals, and the ranges that become zero pages.
#include "core/bus_error.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <thread>
#include <type_traits>

#include "kernel/mutex.h"

#if defined(VFIO_DMABUF_FIXUP)
#include <ucontext.h>
#endif

#if defined(VFIO_DMABUF_FIXUP)
// An entry of the table: see VFIO_DMABUF_FIXUP.
struct Fixup {
  int32_t access;
  int32_t next;
};
// The linker defines these symbols if the section exists.
extern "C" {
// NOLINTBEGIN(bugprone-reserved-identifier, readability-identifier-naming)
[[gnu::weak, gnu::visibility("hidden")]] extern const Fixup __start_vfio_dmabuf_fixups[];
[[gnu::weak, gnu::visibility("hidden")]] extern const Fixup __stop_vfio_dmabuf_fixups[];
// NOLINTEND(bugprone-reserved-identifier, readability-identifier-naming)
}
#endif

namespace core {

#if !defined(VFIO_DMABUF_FIXUP)
thread_local BusErrorGuard* volatile bus_error_guard = nullptr;
#endif
std::atomic<uint64_t> bus_error_checked = 0;

// A range of AddZeroRange(). The signal handler reads the list without a lock in any thread, so nodes are reused and
// never freed.
struct ZeroRange {
  std::atomic<uintptr_t> start = 0;  // 0: free
  std::atomic<uintptr_t> end = 0;
  std::atomic<unsigned> handlers = 0;  // signal handlers that read the node now; RemoveZeroRange() waits for them
  ZeroRange* next = nullptr;
  ZeroRange* next_free = nullptr;
};

namespace {

uint64_t MeasureInterval() {
#if defined(__x86_64__)
  return 1 << 15;  // 10 microseconds at 3.3 GHz
#elif defined(__aarch64__)
  uint64_t frequency = 0;
  asm volatile("mrs %0, cntfrq_el0" : "=r"(frequency));
  return frequency / 100'000;
#else
  return 10'000;
#endif
}

// A handler or disposition that this library's handler replaced. Never freed, because the signal handler reads the list
// without a lock.
struct Earlier {
  struct sigaction action;
  const Earlier* before;  // the handler that was replaced before
  const Earlier* made;    // the next one in the list of all
};

std::atomic<const Earlier*> latest = nullptr;
const Earlier* all_earlier = nullptr;
std::atomic<void (*)(int)> loop_handler = nullptr;
kernel::Mutex installing;

// The earlier handler that this library's handler is calling on this thread. If that handler calls this library's
// handler, which it replaced at some time, PassOn() continues with the handlers before it.
thread_local const Earlier* passing [[gnu::tls_model("initial-exec")]] = nullptr;

std::atomic<ZeroRange*> zero_ranges = nullptr;
kernel::Mutex zero_ranges_changing;
ZeroRange* free_zero_ranges GUARDED_BY(zero_ranges_changing) = nullptr;

// Replaces the range that contains the address by zero pages. Async-signal-safe. Returns false if no range contains the
// address or mmap(2) fails.
bool BecomeZeros(uintptr_t at) {
  for (ZeroRange* range = zero_ranges; range; range = range->next) {
    ++range->handlers;
    const uintptr_t start = range->start;
    const uintptr_t end = range->end;
    bool done = false;
    const bool found = start != 0 && at >= start && at < end;
    if (found) {
      const int protection = PROT_READ | PROT_WRITE;
      const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
      done = mmap(reinterpret_cast<void*>(start), end - start, protection, flags, -1, 0) != MAP_FAILED;
    }
    --range->handlers;
    if (found) return done;
  }
  return false;
}

bool IsFunction(const Earlier* earlier) {
  return earlier && earlier->action.sa_handler != SIG_DFL && earlier->action.sa_handler != SIG_IGN;
}

bool IsLoop(const Earlier* earlier) {
  void (*const handler)(int) = loop_handler;
  return earlier && handler && (earlier->action.sa_flags & SA_SIGINFO) == 0 && earlier->action.sa_handler == handler;
}

void SetDefault() {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, nullptr);
}

void PassOn(int signal, siginfo_t* info, void* context) {
  const bool sent = info->si_code <= 0;
  const Earlier* earlier = passing ? passing->before : latest.load();
  if (IsLoop(earlier)) {
    if (sent) earlier->action.sa_handler(signal);
    earlier = earlier->before;
    if (sent && !IsFunction(earlier)) return;  // the loop's watcher calls EndIfUnhandled()
  }
  if (!IsFunction(earlier)) {
    if (sent && earlier && earlier->action.sa_handler == SIG_IGN) return;
    SetDefault();
    // A fault needs no raise(): the instruction runs again, faults again and ends the process at the faulting address.
    if (sent || info->si_code == BUS_MCEERR_AO) raise(signal);
    return;
  }
  const Earlier* outer = passing;
  passing = earlier;
  if ((earlier->action.sa_flags & SA_SIGINFO) != 0) {
    earlier->action.sa_sigaction(signal, info, context);
  } else {
    earlier->action.sa_handler(signal);
  }
  passing = outer;
}

#if defined(VFIO_DMABUF_FIXUP)

// If the faulting instruction is a register access, makes the thread continue behind it. Async-signal-safe.
bool Continue(uintptr_t, void* context) {
  auto& machine = static_cast<ucontext_t*>(context)->uc_mcontext;
#if defined(__x86_64__)
  auto& instruction = machine.gregs[REG_RIP];
#else
  auto& instruction = machine.pc;
#endif
  const auto target = [](const int32_t* offset) { return reinterpret_cast<intptr_t>(offset) + *offset; };
  for (const Fixup* fixup = __start_vfio_dmabuf_fixups; fixup < __stop_vfio_dmabuf_fixups; ++fixup) {
    if (static_cast<intptr_t>(instruction) != target(&fixup->access)) continue;
    instruction = static_cast<std::remove_reference_t<decltype(instruction)>>(target(&fixup->next));
    return true;
  }
  return false;
}

#else

// If this thread's register access contains the address, continues after it and does not return.
bool Continue(uintptr_t at, void*) {
  BusErrorGuard* guard = bus_error_guard;
  if (!guard || at < guard->start || at >= guard->end) return false;
  bus_error_guard = nullptr;
  siglongjmp(guard->here, 1);
}

#endif

void HandleBusError(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  if (info->si_code > 0) {
    const auto at = reinterpret_cast<uintptr_t>(info->si_addr);
    // BUS_MCEERR_AO is not caused by the instruction at which it arrives.
    if (info->si_code != BUS_MCEERR_AO && Continue(at, context)) {
      errno = error;
      return;
    }
    if (BecomeZeros(at)) {
      errno = error;
      return;
    }
  }
  PassOn(signal, info, context);
  errno = error;
}

bool IsOurs(const struct sigaction& action) {
  return (action.sa_flags & SA_SIGINFO) != 0 && action.sa_sigaction == HandleBusError;
}

void Remember(const struct sigaction& action) REQUIRES(installing) {
  for (const Earlier* known = all_earlier; known; known = known->made) {
    const bool same = known->action.sa_handler == action.sa_handler && known->action.sa_flags == action.sa_flags;
    if (!same) continue;
    latest = known;
    return;
  }
  latest = all_earlier = new Earlier{action, latest, all_earlier};
}

}  // namespace

const uint64_t kBusErrorInterval = MeasureInterval();

void CatchBusErrors() {
  const kernel::Lock lock(installing);
  bus_error_checked.store(Ticks(), std::memory_order_relaxed);
  struct sigaction now = {};
  sigaction(SIGBUS, nullptr, &now);
  if (IsOurs(now)) return;
  Remember(now);
  struct sigaction action = {};
  action.sa_sigaction = HandleBusError;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;  // SA_NODEFER, because siglongjmp() may leave the handler
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, nullptr);
}

void SetLoopHandler(void (*handler)(int)) { loop_handler = handler; }

void EndIfUnhandled() {
  const Earlier* earlier = latest;
  if (IsLoop(earlier)) earlier = earlier->before;
  if (earlier && earlier->action.sa_handler != SIG_DFL) return;
  SetDefault();
  kill(getpid(), SIGBUS);
}

ZeroRange* AddZeroRange(void* start, std::size_t length) {
  const kernel::Lock lock(zero_ranges_changing);
  ZeroRange* range = free_zero_ranges;
  const bool is_new = !range;
  if (is_new) {
    range = new ZeroRange;
  } else {
    free_zero_ranges = range->next_free;
  }
  range->end = reinterpret_cast<uintptr_t>(start) + length;
  range->start = reinterpret_cast<uintptr_t>(start);
  if (is_new) {
    range->next = zero_ranges;
    zero_ranges = range;
  }
  return range;
}

void RemoveZeroRange(ZeroRange* range) {
  const kernel::Lock lock(zero_ranges_changing);
  range->start = 0;
  while (range->handlers != 0) std::this_thread::yield();
  range->next_free = free_zero_ranges;
  free_zero_ranges = range;
}

}  // namespace core
