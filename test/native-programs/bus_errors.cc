// Bus errors with SIGBUS handlers of other native code, which JavaScript cannot install: bus_errors CASE. A case prints
// its events; scripts/test-native.ts has the expected output.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <thread>
#include <vector>

#include "core/bus_error.h"
#include "core/registers.h"

namespace {

const auto kPage = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));

// Maps a page of an empty file. An access raises SIGBUS.
void* MapNothing(int protection = PROT_READ | PROT_WRITE) {
  const int fd = memfd_create("nothing", MFD_CLOEXEC);
  void* page = mmap(nullptr, kPage, protection, MAP_SHARED, fd, 0);
  close(fd);
  return page;
}

void Say(const char* text) { [[maybe_unused]] const auto written = write(1, text, strlen(text)); }

bool Guarded(void* page) {
  core::KeepCatchingBusErrors();
  uint32_t value = 0;
  return !core::LoadRegister(static_cast<const uint32_t*>(page), &value);
}

void Install(void (*handler)(int, siginfo_t*, void*), struct sigaction* old = nullptr) {
  struct sigaction action = {};
  action.sa_sigaction = handler;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &action, old);
}

void Pause() {
  const struct timespec time = {0, 1'000'000};
  nanosleep(&time, nullptr);
}

struct sigaction replaced;
void* volatile to_mend;

void Alone(int, siginfo_t*, void*) {
  Say("other ");
  _exit(3);
}
void Chained(int signal, siginfo_t* info, void* context) {
  Say("chained ");
  if ((replaced.sa_flags & SA_SIGINFO) != 0) replaced.sa_sigaction(signal, info, context);
}
void Mend(int, siginfo_t*, void*) {
  Say("mended ");
  mmap(to_mend, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}
void TryAgain(int, siginfo_t*, void*) {}
void Note(int) { Say("noted "); }

uint32_t Load(void* page) { return *static_cast<volatile uint32_t*>(page); }

// Accesses of memory that is there and of memory that is not, in one function: the values must survive the fault.
template <typename T>
bool GuardedAll() {
  auto* nothing = static_cast<T*>(MapNothing());
  const auto wanted = static_cast<T>(0x8877665544332211);
  T memory = wanted;
  T value = 0;
  const bool loaded = core::LoadRegister(&memory, &value) && value == wanted;
  const bool refused = !core::LoadRegister(nothing, &value) && !core::StoreRegister(nothing + 1, wanted);
  const bool stored = core::StoreRegister(&memory, T{7}) && memory == 7;
  return loaded && refused && stored;
}

struct Case {
  const char* name;
  void (*run)();
};

const Case kCases[] = {
    {"another handler before",
     [] {
       Install(Alone);
       core::CatchBusErrors();
       Say(Guarded(MapNothing()) ? "guarded " : "read ");
       Load(MapNothing());
     }},
    {"another handler after",
     [] {
       core::CatchBusErrors();
       Install(Alone);
       Pause();
       Say(Guarded(MapNothing()) ? "guarded " : "read ");
       Load(MapNothing());
     }},
    {"a handler after that calls the one it replaced",
     [] {
       core::CatchBusErrors();
       Install(Chained, &replaced);
       core::CatchBusErrors();
       Say(Guarded(MapNothing()) ? "guarded " : "read ");
       Load(MapNothing());
     }},
    {"a handler that mends its own",
     [] {
       Install(Mend);
       core::CatchBusErrors();
       to_mend = MapNothing();
       Say(Load(to_mend) == 0 ? "zero " : "not ");
       Say(Guarded(MapNothing()) ? "guarded " : "read ");
     }},
    {"an access that is not of a register",
     [] {
       core::CatchBusErrors();
       void* page = MapNothing();
       Say(Guarded(page) ? "guarded " : "read ");
       Load(page);
       Say("went on ");
     }},
    {"each width, loads and stores",
     [] {
       core::CatchBusErrors();
       Say(GuardedAll<uint8_t>() && GuardedAll<uint16_t>() && GuardedAll<uint32_t>() && GuardedAll<uint64_t>()
               ? "guarded "
               : "wrong ");
     }},
    {"several threads at once",
     [] {
       core::CatchBusErrors();
       std::atomic<unsigned> guarded = 0;
       std::vector<std::thread> threads;
       for (int i = 0; i < 4; ++i) {
         threads.emplace_back([&guarded, page = MapNothing()] {
           for (int n = 0; n < 1000; ++n) guarded += Guarded(page) ? 1 : 0;
         });
       }
       for (auto& thread : threads) thread.join();
       Say(guarded == 4000 ? "guarded " : "wrong ");
     }},
    {"a handler of an event loop takes no fault",
     [] {
       struct sigaction action = {};
       action.sa_handler = Note;
       sigaction(SIGBUS, &action, nullptr);
       core::SetLoopHandler(Note);
       core::CatchBusErrors();
       raise(SIGBUS);
       Load(MapNothing());
     }},
    {"a signal that is ignored",
     [] {
       std::signal(SIGBUS, SIG_IGN);
       core::CatchBusErrors();
       raise(SIGBUS);
       Say("ignored ");
       Load(MapNothing());
     }},
    {"a signal that is sent during an access",
     [] {
       core::CatchBusErrors();
       void* page = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
       std::atomic<bool> started = false;
       std::thread accessing([&] {
         for (;;) {
           if (Guarded(page)) Say("swallowed ");
           started = true;
         }
       });
       while (!started) Pause();
       pthread_kill(accessing.native_handle(), SIGBUS);
       accessing.join();
     }},
    {"a range that goes while another thread faults",
     [] {
       // After the range is removed, its addresses may be reused. The handler must not map zeros there any more.
       Install(TryAgain);
       core::CatchBusErrors();
       void* page = MapNothing();
       std::atomic<bool> stop = false;
       std::vector<std::thread> lookers;
       for (int i = 0; i < 4; ++i) {
         lookers.emplace_back([&] {
           while (!stop) Load(page);
         });
       }
       unsigned clobbered = 0;
       const int nothing = memfd_create("nothing", MFD_CLOEXEC);
       for (int i = 0; i < 2000; ++i) {
         mmap(page, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, nothing, 0);
         core::ZeroRange* range = core::AddZeroRange(page, kPage);
         if (i % 2 == 0) std::this_thread::yield();
         core::RemoveZeroRange(range);
         mmap(page, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
         *static_cast<volatile uint32_t*>(page) = 7;
         if (i % 8 == 0) Pause();
         for (int look = 0; look < 200; ++look) clobbered += Load(page) != 7 ? 1 : 0;
       }
       stop = true;
       for (auto& looker : lookers) looker.join();
       Say(clobbered > 0 ? "clobbered " : "kept ");
     }},
};

}  // namespace

int main(int, char** arguments) {
  for (const Case& each : kCases) {
    if (std::strcmp(each.name, arguments[1]) == 0) each.run();
  }
}
