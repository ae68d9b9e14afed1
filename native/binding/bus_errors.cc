// Keeps core's SIGBUS handler installed while the process runs an event loop.
#include "binding/bus_errors.h"

#include <pthread.h>
#include <uv.h>

#include <csignal>
#include <map>
#include <memory>
#include <mutex>

#include "binding/call.h"
#include "core/bus_error.h"

namespace binding {
namespace {

void Ignore(uv_signal_t*, int) {}

// Finds the address of libuv's signal handler, which is the same for every signal: starts a watcher of SIGURG and reads
// SIGURG's action. SIGURG is ignored by default. If the program already handles SIGURG, this function does nothing.
void FindLoopHandler(uv_loop_t* loop) {
  struct sigaction action = {};
  sigaction(SIGURG, nullptr, &action);
  if (action.sa_handler != SIG_DFL) return;
  auto* probe = new uv_signal_t;
  core::Check(uv_signal_init(loop, probe), "uv_signal_init");
  if (uv_signal_start(probe, Ignore, SIGURG) == 0) sigaction(SIGURG, nullptr, &action);
  uv_close(reinterpret_cast<uv_handle_t*>(probe), [](uv_handle_t* handle) {
    delete reinterpret_cast<uv_signal_t*>(handle);  // NOLINT(cppcoreguidelines-owning-memory)
  });
  if (action.sa_handler != SIG_DFL) core::SetLoopHandler(action.sa_handler);
}

// Runs after a process sent SIGBUS. Finds out whether the program has a watcher of SIGBUS, too: this watcher stops, and
// libuv sets the default disposition if no other watcher is left.
void Sent(uv_signal_t* own, int) {
  core::CatchBusErrors();  // records a handler that was installed since
  uv_signal_stop(own);
  struct sigaction action = {};
  sigaction(SIGBUS, nullptr, &action);
  uv_signal_start(own, Sent, SIGBUS);
  core::CatchBusErrors();
  if (action.sa_handler == SIG_DFL) core::EndIfUnhandled();
}

void* Listen(void* loop) {
  uv_run(static_cast<uv_loop_t*>(loop), UV_RUN_DEFAULT);
  return nullptr;
}

// Starts a watcher of SIGBUS that lives as long as the process. libuv installs its handler when the first watcher of a
// signal in the process starts, on any loop, and sets the default disposition when the last one stops. With this
// watcher, process.on('SIGBUS') and process.off() never start the first or stop the last one. The watcher has its own
// loop and thread, so that it does not end with an environment.
void HoldSignal() {
  auto loop = std::make_unique<uv_loop_t>();
  auto own = std::make_unique<uv_signal_t>();
  core::Check(uv_loop_init(loop.get()), "uv_loop_init");
  FindLoopHandler(loop.get());
  core::CatchBusErrors();
  core::Check(uv_signal_init(loop.get(), own.get()), "uv_signal_init");
  core::Check(uv_signal_start(own.get(), Sent, SIGBUS), "uv_signal_start");
  core::CatchBusErrors();

  // This thread blocks all signals: the kernel delivers the process's signals to the program's other threads.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const int failed = pthread_create(&thread, nullptr, Listen, loop.get());
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  core::Check(-failed, "pthread_create");
  pthread_detach(thread);
  static const auto* kept_loop = loop.release();
  static const auto* kept_signal = own.release();
  static_cast<void>(kept_loop), static_cast<void>(kept_signal);
}

// Checks the SIGBUS handler in each turn of an environment's loop. Other native code, called from JavaScript, may
// install its own handler, and JavaScript accesses mapped memory directly, without a call that could check first.
class Turns {
 public:
  static void Start(napi_env env) {
    if (ByEnvironment().contains(env)) return;
    uv_loop_t* loop = nullptr;
    NAPI_THROW_IF_FAILED_VOID(env, napi_get_uv_event_loop(env, &loop));
    auto* turns = ByEnvironment()[env] = new Turns(env);
    uv_prepare_init(loop, &turns->prepare_);
    uv_check_init(loop, &turns->check_);
    uv_prepare_start(&turns->prepare_, [](uv_prepare_t*) { core::CatchBusErrors(); });
    uv_check_start(&turns->check_, [](uv_check_t*) { core::CatchBusErrors(); });
    uv_unref(reinterpret_cast<uv_handle_t*>(&turns->prepare_));
    uv_unref(reinterpret_cast<uv_handle_t*>(&turns->check_));
    napi_add_async_cleanup_hook(
        env, [](napi_async_cleanup_hook_handle, void* self) { static_cast<Turns*>(self)->Close(); }, turns,
        &turns->hook_);
  }

 private:
  explicit Turns(napi_env env) : env_(env) { prepare_.data = check_.data = this; }

  static std::map<napi_env, Turns*>& ByEnvironment() {
    thread_local std::map<napi_env, Turns*> turns;
    return turns;
  }

  // Frees this object in the close callback of the second handle: the loop uses a handle until its close callback.
  void Close() {
    ByEnvironment().erase(env_);
    uv_close(reinterpret_cast<uv_handle_t*>(&prepare_), [](uv_handle_t* prepare) {
      auto* check = reinterpret_cast<uv_handle_t*>(&static_cast<Turns*>(prepare->data)->check_);
      uv_close(check, [](uv_handle_t* handle) {
        const std::unique_ptr<Turns> self(static_cast<Turns*>(handle->data));
        if (self->hook_) napi_remove_async_cleanup_hook(self->hook_);
      });
    });
  }

  napi_env env_;
  uv_prepare_t prepare_ = {};
  uv_check_t check_ = {};
  napi_async_cleanup_hook_handle hook_ = nullptr;
};

}  // namespace

void HoldBusErrors() {
  static std::once_flag held;
  std::call_once(held, HoldSignal);
}

void KeepBusErrors(Napi::Env env) {
  HoldBusErrors();
  Turns::Start(env);
}

}  // namespace binding
