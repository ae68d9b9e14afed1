// Loads and stores that may raise SIGBUS: another process, or another thread between the check and the access, can
// switch off the memory of a device whose registers are mapped.
#pragma once

#include <csetjmp>
#include <cstddef>

namespace core {

// Where this thread goes on after a bus error; nullptr: nobody expects one.
extern thread_local sigjmp_buf* bus_error_return [[gnu::tls_model("initial-exec")]];

// Makes SIGBUS go to whoever expects it, in this process, from now on. What nobody expects goes where it went before.
void CatchBusErrors();

// A range of this process's addresses that, at the first bus error in it that nobody expects, becomes zero pages for
// good: JavaScript looks at memory directly, and must not be ended by an exporter that takes it away.
void AddZeroRange(void* start, std::size_t length);
void RemoveZeroRange(void* start);

// Runs `access`, which must not own anything that needs a destructor. False: it ended early, by a bus error.
template <typename Access>
[[gnu::noinline]] bool GuardBusErrors(const Access& access) {
  sigjmp_buf here;
  if (sigsetjmp(here, 0) != 0) return false;
  bus_error_return = &here;
  access();
  bus_error_return = nullptr;
  return true;
}

}  // namespace core
