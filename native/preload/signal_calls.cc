// The handler of SIGSEGV, and the calls by which the program sets its own handler or blocks the signal.
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "kernel/mutex.h"
#include "preload/faults.h"
#include "preload/names.h"
#include "preload/registers/access.h"
#include "preload/registers/instruction.h"
#include "preload/registers/replay.h"
#include "preload/registers/trap_table.h"
#include "preload/world.h"

namespace preload {
namespace {

constexpr int kOnce = static_cast<int>(SA_RESETHAND);

struct Handling {
  kernel::Mutex mutex;
  struct sigaction program GUARDED_BY(mutex) = {};  // what the program wants for SIGSEGV
  std::atomic<bool> is_ours = false;
};

Handling& TheHandling() {
  static auto* handling = new Handling;  // never destroyed: threads may outlive static objects
  return *handling;
}

// Ends the process with a message that shows the instruction.
void EndAtUnknown(const ucontext_t& context, const void* address) {
  std::array<char, 400> text = {};
  const auto* code = reinterpret_cast<const uint8_t*>(context.uc_mcontext.gregs[REG_RIP]);
  int length =
      std::snprintf(text.data(), text.size(),
                    "vfio-dmabuf run: the instruction at %p accesses registers of a device at %p, and cannot be "
                    "carried out. Its first bytes are",
                    static_cast<const void*>(code), address);
  for (std::size_t i = 0; i < kLongestInstruction; ++i) {
    length += std::snprintf(text.data() + length, text.size() - static_cast<std::size_t>(length), " %02x", code[i]);
  }
  text.at(static_cast<std::size_t>(length++)) = '\n';
  [[maybe_unused]] const auto written = TheReal().write(2, text.data(), static_cast<std::size_t>(length));
}

void UseDefault() {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  TheReal().sigaction(SIGSEGV, &action, nullptr);
}

// Calls the program's handler as the kernel does.
void Forward(int signal, siginfo_t* info, void* context) {
  auto& handling = TheHandling();
  struct sigaction action;
  {
    const kernel::Lock guard(handling.mutex);
    action = handling.program;
    if ((action.sa_flags & kOnce) != 0) handling.program.sa_handler = SIG_DFL;
  }
  const bool is_sent = info->si_code <= 0;
  if (action.sa_handler == SIG_IGN && is_sent) return;
  if (action.sa_handler == SIG_DFL || action.sa_handler == SIG_IGN) {
    UseDefault();  // the instruction faults again, and ends the process
    if (is_sent) raise(SIGSEGV);
    return;
  }
  sigset_t blocked = action.sa_mask;
  sigdelset(&blocked, SIGSEGV);
  sigset_t before;
  TheReal().pthread_sigmask(SIG_BLOCK, &blocked, &before);
  if ((action.sa_flags & SA_SIGINFO) != 0) {
    action.sa_sigaction(signal, info, context);
  } else {
    action.sa_handler(signal);
  }
  TheReal().pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void OnFault(int signal, siginfo_t* info, void* opaque) {
  auto& context = *static_cast<ucontext_t*>(opaque);
  const int saved = errno;
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  auto& instruction = context.uc_mcontext.gregs[REG_RIP];
  if (info->si_code > 0 && !IsOwnCall()) {
    const kernel::OwnCalls own;
    if (const auto next = FinishReplay(static_cast<uint64_t>(instruction))) {
      instruction = static_cast<greg_t>(*next);
      errno = saved;
      return;
    }
    if (TrapTable::Get().Find(address).trap) {
      uintptr_t bad_address = 0;
      const Outcome outcome = CarryOut(context, address, &bad_address);
      errno = saved;
      if (outcome == Outcome::kDone) return;
      if (outcome == Outcome::kBadMemory) {
        info->si_addr = reinterpret_cast<void*>(bad_address);
      } else {
        EndAtUnknown(context, info->si_addr);
        UseDefault();
        return;
      }
    }
  }
  Forward(signal, info, opaque);
  errno = saved;
}

void Install(int program_flags) {
  struct sigaction action = {};
  action.sa_sigaction = OnFault;
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART | (program_flags & SA_ONSTACK);
  TheReal().sigaction(SIGSEGV, &action, nullptr);
}

// A set without SIGSEGV: a fault while the signal is blocked would end the process.
class Unblocked {
 public:
  explicit Unblocked(const sigset_t* set) : given_(set) {
    if (!set) return;
    changed_ = *set;
    sigdelset(&changed_, SIGSEGV);
  }
  const sigset_t* set() const { return given_ ? &changed_ : nullptr; }

 private:
  const sigset_t* given_;
  sigset_t changed_;
};

SignalHandler SetHandler(int signal, SignalHandler handler, int flags) {
  struct sigaction action = {};
  struct sigaction old = {};
  action.sa_handler = handler;
  action.sa_flags = flags;
  return Run_sigaction(signal, &action, &old) == 0 ? old.sa_handler : SIG_ERR;
}

}  // namespace

VFIO_DMABUF_THREAD_RULE(no_thread_safety_analysis) void LockFaults() { TheHandling().mutex.Acquire(); }
VFIO_DMABUF_THREAD_RULE(no_thread_safety_analysis) void UnlockFaults() { TheHandling().mutex.Release(); }

void CatchFaults() {
  auto& handling = TheHandling();
  const kernel::Lock guard(handling.mutex);
  if (handling.is_ours) return;
  TheReal().sigaction(SIGSEGV, nullptr, &handling.program);
  Install(handling.program.sa_flags);
  handling.is_ours = true;
}

int Run_sigaction(int signal, const struct sigaction* action, struct sigaction* old) {
  auto& handling = TheHandling();
  if (signal == SIGSEGV && handling.is_ours) {
    const kernel::Lock guard(handling.mutex);
    const struct sigaction before = handling.program;
    if (action) {
      handling.program = *action;
      Install(action->sa_flags);
    }
    if (old) *old = before;
    return 0;
  }
  if (!action || Folder().empty()) return TheReal().sigaction(signal, action, old);
  struct sigaction changed = *action;
  sigdelset(&changed.sa_mask, SIGSEGV);
  return TheReal().sigaction(signal, &changed, old);
}

SignalHandler Run_signal(int signal, SignalHandler handler) { return SetHandler(signal, handler, SA_RESTART); }

SignalHandler Run_sysv_signal(int signal, SignalHandler handler) {
  return SetHandler(signal, handler, kOnce | SA_NODEFER);
}

int Run_sigprocmask(int how, const sigset_t* set, sigset_t* old) {
  if (Folder().empty() || how == SIG_UNBLOCK) return TheReal().sigprocmask(how, set, old);
  return TheReal().sigprocmask(how, Unblocked(set).set(), old);
}

int Run_pthread_sigmask(int how, const sigset_t* set, sigset_t* old) {
  if (Folder().empty() || how == SIG_UNBLOCK) return TheReal().pthread_sigmask(how, set, old);
  return TheReal().pthread_sigmask(how, Unblocked(set).set(), old);
}

}  // namespace preload
