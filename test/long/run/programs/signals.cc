// The program's own handling of SIGSEGV, beside accesses to registers.
#include <csetjmp>
#include <csignal>
#include <string>
#include <thread>

#include "vfio.h"

static Engine engine;
static sigjmp_buf back;
static volatile uintptr_t where;
static volatile sig_atomic_t count;

static void OnFault(int, siginfo_t* info, void*) {
  where = reinterpret_cast<uintptr_t>(info->si_addr);
  count = count + 1;
  CHECK(Word(engine, 0) == 0x010000ed);  // registers can be accessed here, too
  siglongjmp(back, 1);
}
static void OnPlain(int) {
  count = count + 1;
  siglongjmp(back, 1);
}

static bool Faults(uintptr_t address) {
  if (sigsetjmp(back, 1) != 0) return true;
  *reinterpret_cast<volatile char*>(address) = 1;
  return false;
}

int main(int, char** arguments) {
  const std::string how = arguments[1];
  struct sigaction action = {};
  action.sa_sigaction = OnFault;
  action.sa_flags = SA_SIGINFO;
  if (how == "before") CHECK(sigaction(SIGSEGV, &action, nullptr) == 0);
  engine = OpenEngine();
  CHECK(Word(engine, 0) == 0x010000ed);
  struct sigaction known = {};
  CHECK(sigaction(SIGSEGV, nullptr, &known) == 0);
  CHECK(how == "before" ? known.sa_sigaction == OnFault : known.sa_handler == SIG_DFL);
  if (how == "after") CHECK(sigaction(SIGSEGV, &action, nullptr) == 0);
  if (how == "before" || how == "after") {
    CHECK(Faults(0x123) && where == 0x123 && count == 1);
    CHECK(Faults(0x456) && where == 0x456 && count == 2);
    CHECK(Word(engine, 0) == 0x010000ed && count == 2);
    CHECK(signal(SIGSEGV, OnPlain) != SIG_ERR && Faults(0x123) && count == 3);
    // With every signal blocked, in each thread.
    sigset_t all;
    sigfillset(&all);
    CHECK(pthread_sigmask(SIG_BLOCK, &all, nullptr) == 0);
    std::thread([] { CHECK(Word(engine, 0) == 0x010000ed); }).join();
    CHECK(Word(engine, 0) == 0x010000ed);
    // A register as another operand's address: the program's fault is the program's.
    CHECK(Faults(0x789) && count == 4);
    std::puts("done");
  } else if (how == "none") {
    *reinterpret_cast<volatile char*>(0x123) = 1;
  } else if (how == "sent") {
    raise(SIGSEGV);
  } else if (how == "unknown") {
    asm volatile("fldt (%0)" ::"r"(engine.registers));
  } else if (how == "string") {
    CHECK(sigaction(SIGSEGV, &action, nullptr) == 0);
    if (sigsetjmp(back, 1) == 0) {
      void* to = reinterpret_cast<void*>(0x5000);
      const void* from = const_cast<uint8_t*>(engine.registers);
      uint64_t bytes = 16;
      asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
    }
    CHECK(count == 1 && where == 0x5000);
    std::puts("done");
  }
}
