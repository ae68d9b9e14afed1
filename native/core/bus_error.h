// Loads and stores that may raise SIGBUS: another process or thread can disable the memory of a device whose registers
// are mapped, also between a check and the access.
#pragma once

#include <atomic>
#include <csetjmp>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <ctime>

namespace core {

#if defined(__x86_64__) || defined(__aarch64__)

// Adds an entry to the table of fixups, for an asm statement with an access between the labels 1 and 2: if the
// instruction at label 1 raises SIGBUS, the thread continues at label 2. An entry has two 32-bit offsets from itself.
// In the section's flags, '?' puts the entry into the section group of the function: the linker drops both together.
#define VFIO_DMABUF_FIXUP                                   \
  "\t.pushsection vfio_dmabuf_fixups, \"a?\", %%progbits\n" \
  "\t.balign 4\n\t.long 1b - .\n\t.long 2b - .\n\t.popsection\n"

#else

// An access that may raise SIGBUS: the addresses that it uses, and where the thread continues after a bus error at one
// of them.
struct BusErrorGuard {
  uintptr_t start;
  uintptr_t end;
  sigjmp_buf here;
};

// This thread's current access. Volatile, because the signal handler reads it: the compiler must keep each store.
extern thread_local BusErrorGuard* volatile bus_error_guard [[gnu::tls_model("initial-exec")]];

// Runs `access`, which uses addresses of this range and must not have objects with destructors. Returns false if a bus
// error ended it early.
template <typename Access>
[[gnu::noinline]] bool GuardBusErrors(const volatile void* start, std::size_t length, const Access& access) {
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

#endif

// Installs this library's SIGBUS handler unless it is already installed. The handler calls the replaced handler for
// each signal that is not caused by this library's accesses.
void CatchBusErrors();

// Sets the handler of the event loop, which records a signal and returns. It gets only signals that a process sent:
// after a fault, the instruction would run and fault again without end.
void SetLoopHandler(void (*handler)(int));
// Handles a SIGBUS that a process sent and for which no event loop has a watcher: ends the process if the earlier
// disposition is the default.
void EndIfUnhandled();

// Adds a range of this process's addresses. The first bus error in it that is not of a register access replaces the
// range by zero pages permanently. JavaScript accesses mapped memory directly: an exporter that revokes the memory must
// not end the process.
struct ZeroRange;
ZeroRange* AddZeroRange(void* start, std::size_t length);
// Removes the range. When the call returns, the addresses can be unmapped.
void RemoveZeroRange(ZeroRange* range);

// Reads the processor's counter: a clock that is faster than clock_gettime(2).
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
extern std::atomic<uint64_t> bus_error_checked;  // in Ticks(): the last CatchBusErrors()
extern const uint64_t kBusErrorInterval;         // in Ticks(): about 10 microseconds

// Calls CatchBusErrors() if the last call is older than kBusErrorInterval. Other native code may install its own
// handler at any time without notice, and a sigaction(2) call before every access would cost more than the access.
inline void KeepCatchingBusErrors() {
  if (Ticks() - bus_error_checked.load(std::memory_order_relaxed) > kBusErrorInterval) [[unlikely]]
    CatchBusErrors();
}

}  // namespace core
