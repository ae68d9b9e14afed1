#include "core/bus_error.h"

#include <csignal>
#include <mutex>
#include <utility>

namespace core {

thread_local sigjmp_buf* bus_error_return = nullptr;

namespace {

struct sigaction previous;

void HandleBusError(int signal, siginfo_t* info, void* context) {
  if (bus_error_return) siglongjmp(*std::exchange(bus_error_return, nullptr), 1);
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

}  // namespace core
