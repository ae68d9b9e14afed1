// Runs slow calls on other threads and settles their promises.
#include "binding/async_call.h"

#include <uv.h>

#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <utility>

#include "binding/call.h"
#include "core/threads.h"
#include "kernel/non_copyable.h"

namespace binding {
namespace {

constexpr auto kPatience = std::chrono::seconds(1);  // how long an environment that ends waits for its calls

class Calls;

// `error` is nullptr if no error object could be created.
void Reject(napi_env env, napi_deferred promise, napi_value error) {
  if (error == nullptr) napi_get_undefined(env, &error);
  napi_reject_deferred(env, promise, error);
}

std::map<napi_env, std::shared_ptr<Calls>>& ByEnvironment() {
  thread_local std::map<napi_env, std::shared_ptr<Calls>> calls;
  return calls;
}

// The calls of one environment. Run() and the uv callbacks run on the environment's thread, Return() on a call's
// thread.
class Calls : public std::enable_shared_from_this<Calls>, private kernel::NonCopyable {
 public:
  static std::shared_ptr<Calls> Of(napi_env env) {
    auto& calls = ByEnvironment()[env];
    if (!calls) calls = Make(env);
    return calls;
  }

  explicit Calls(napi_env env) : env_(env) {}

  // 0, or a negated errno.
  int Run(std::unique_ptr<AsyncCall> call) {
    {
      const std::lock_guard lock(mutex_);
      ++running_;
    }
    const int started = core::CallThreads().Run(
        [calls = shared_from_this(), shared = std::make_shared<std::unique_ptr<AsyncCall>>(std::move(call))] {
          (*shared)->Execute();
          calls->Return(std::move(*shared));
        });
    if (started < 0) {
      const std::lock_guard lock(mutex_);
      --running_;
    } else if (unsettled_++ == 0) {
      uv_ref(reinterpret_cast<uv_handle_t*>(&returned_));
    }
    return started;
  }

 private:
  static std::shared_ptr<Calls> Make(napi_env env) {
    uv_loop_t* loop = nullptr;
    NAPI_THROW_IF_FAILED(env, napi_get_uv_event_loop(env, &loop), nullptr);
    auto calls = std::make_shared<Calls>(env);
    core::Check(
        uv_async_init(loop, &calls->returned_, [](uv_async_t* async) { static_cast<Calls*>(async->data)->Settle(); }),
        "uv_async_init");
    calls->returned_.data = calls.get();
    calls->self_ = calls;
    uv_unref(reinterpret_cast<uv_handle_t*>(&calls->returned_));
    calls->context_ = std::make_unique<Napi::AsyncContext>(env, "vfio-dmabuf:call");
    napi_add_async_cleanup_hook(
        env, [](napi_async_cleanup_hook_handle, void* self) { static_cast<Calls*>(self)->Close(); }, calls.get(),
        &calls->hook_);
    return calls;
  }

  // Runs on the call's thread.
  void Return(std::unique_ptr<AsyncCall> call) {
    std::unique_lock lock(mutex_);
    if (closed_) {
      lock.unlock();
      call.reset();  // closes what it opened
      lock.lock();
    } else {
      done_.push_back(std::move(call));
      uv_async_send(&returned_);
    }
    --running_;
    changed_.notify_all();
  }

  std::deque<std::unique_ptr<AsyncCall>> TakeDone() {
    const std::lock_guard lock(mutex_);
    return std::exchange(done_, {});
  }

  void Settle() {
    const auto self = shared_from_this();
    const Napi::HandleScope scope(env_);
    for (const auto& call : TakeDone()) {
      if (--unsettled_ == 0) uv_unref(reinterpret_cast<uv_handle_t*>(&returned_));
      const Napi::HandleScope of_call(env_);
      const Napi::CallbackScope callback(env_, *context_);
      Settle(*call);
    }
  }

  // Settles the promise, even if the conversion of the result fails.
  void Settle(AsyncCall& call) const noexcept {
    napi_value result = nullptr;
    try {
      result = call.Result(env_);
    } catch (...) {
      Reject(env_, call.promise, CaughtValue(env_));
      return;
    }
    napi_resolve_deferred(env_, call.promise, result);
  }

  void Close() {
    ByEnvironment().erase(env_);
    {
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, kPatience, [&] { return running_ == 0; });
      closed_ = true;
    }
    TakeDone().clear();
    context_.reset();
    uv_close(reinterpret_cast<uv_handle_t*>(&returned_), [](uv_handle_t* handle) {
      const auto self = std::exchange(static_cast<Calls*>(handle->data)->self_, nullptr);
      if (self->hook_) napi_remove_async_cleanup_hook(self->hook_);
    });
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::unique_ptr<AsyncCall>> done_;
  std::size_t running_ = 0;  // calls that run or wait for a thread
  bool closed_ = false;

  napi_env env_;
  std::shared_ptr<Calls> self_;  // set while the loop has the handle
  uv_async_t returned_ = {};
  std::size_t unsettled_ = 0;
  std::unique_ptr<Napi::AsyncContext> context_;
  napi_async_cleanup_hook_handle hook_ = nullptr;
};

}  // namespace

Napi::Value Start(Napi::Env env, std::unique_ptr<AsyncCall> call) {
  const auto calls = Calls::Of(env);
  napi_value promise = nullptr;
  NAPI_THROW_IF_FAILED(env, napi_create_promise(env, &call->promise, &promise), Napi::Value());
  napi_deferred deferred = call->promise;
  const int started = calls->Run(std::move(call));
  if (started < 0) {
    const core::Failure failure = {.error = -started, .syscall = "pthread_create"};
    Reject(env, deferred, NewError(env, failure));
  }
  return {env, promise};
}

}  // namespace binding
