// Loads and stores that may raise SIGBUS: another process, or another thread between the check and the access, can
// switch off the memory of a device whose registers are mapped.
#pragma once

#include <atomic>
#include <csetjmp>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <ctime>

namespace core {

// An access that may fail: the addresses that it touches, and where the thread goes on after a bus error at one of
// them.
struct BusErrorGuard {
  uintptr_t start;
  uintptr_t end;
  sigjmp_buf here;
};

// The access that this thread makes now. The signal handler reads it, so the compiler must not move or drop a store.
extern thread_local BusErrorGuard* volatile bus_error_guard [[gnu::tls_model("initial-exec")]];

// Installs this library's handler of SIGBUS, unless it is in place. A handler that is replaced stays known: it gets
// every signal that is not this library's.
void CatchBusErrors();

// `handler` is an event loop's: it takes note of a signal and returns. It gets the signals that somebody sent, and no
// faults: the instruction would run again, and fault again, forever.
void SetLoopHandler(void (*handler)(int));
// A SIGBUS that somebody sent, and that nobody listens for on an event loop: ends the process if the handlers and
// dispositions from before say so.
void EndIfUnhandled();

// A range of this process's addresses that, at the first bus error in it that nobody expects, becomes zero pages for
// good: JavaScript looks at memory directly, and must not be ended by an exporter that takes it away.
void AddZeroRange(void* start, std::size_t length);
// Once it has returned, the addresses may be used for something else.
void RemoveZeroRange(void* start);

// A clock that costs little to read.
inline uint64_t Ticks() {
#if defined(__x86_64__)
  return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
  uint64_t count = 0;
  asm volatile("mrs %0, cntvct_el0" : "=r"(count));
  return count;
#else
  struct timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
#endif
}
extern std::atomic<uint64_t> bus_error_checked;  // when the handler was last seen in place
extern const uint64_t kBusErrorInterval;         // about 10 microseconds

// Other native code may install a handler of its own at any time, and sigaction(2) tells nobody. To ask before every
// access would cost more than the access.
inline void KeepCatchingBusErrors() {
  if (Ticks() - bus_error_checked.load(std::memory_order_relaxed) > kBusErrorInterval) [[unlikely]]
    CatchBusErrors();
}

// Runs `access`, which touches addresses of this range and must not own anything that needs a destructor. False: it
// ended early, by a bus error.
template <typename Access>
[[gnu::noinline]] bool GuardBusErrors(const void* start, std::size_t length, const Access& access) {
  KeepCatchingBusErrors();
  BusErrorGuard guard;
  guard.start = reinterpret_cast<uintptr_t>(start);
  guard.end = guard.start + length;
  if (sigsetjmp(guard.here, 0) != 0) return false;
  bus_error_guard = &guard;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  access();
  std::atomic_signal_fence(std::memory_order_seq_cst);
  bus_error_guard = nullptr;
  return true;
}

}  // namespace core
