// From JavaScript into core and back: argument conversion, core's failures as JavaScript errors, and slow calls on a
// pool thread.
#pragma once

#include <napi.h>

#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/failure.h"
#include "core/trace.h"

namespace binding {

// Arguments. TypeScript has checked their ranges; here a wrong type is refused, so that nothing can crash.
uint64_t ToU64(const Napi::Value& value);
uint32_t ToU32(const Napi::Value& value);
std::optional<uint64_t> ToOptionalU64(const Napi::Value& value);
Napi::Value FromU64(Napi::Env env, uint64_t value);

template <typename Array>
Array ToArray(const Napi::Value& value, napi_typedarray_type type) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) {
    throw Napi::TypeError::New(value.Env(), "expected another kind of typed array");
  }
  return value.As<Array>();
}
Napi::Value FromBytes(Napi::Env env, const std::vector<uint8_t>& bytes);

// A failure as an Error with `errno` (positive), `syscall` and `ioctl`; lib/errors/errors.ts makes a KernelError of it.
Napi::Error ToError(Napi::Env env, const core::Failure& failure);

// The same for callbacks on the bare Node-API: what is thrown there must not leave them as a C++ exception. At the end
// of an environment nothing can be thrown into JavaScript, and nobody is left to see it.
template <typename Work>
void Raising(napi_env env, const Work& work) noexcept {
  try {
    try {
      work();
    } catch (const core::Failure& failure) {
      napi_throw(env, ToError(env, failure).Value());
    } catch (const std::exception& exception) {
      napi_throw_error(env, nullptr, exception.what());
    }
  } catch (const Napi::Error&) {
    return;
  }
}

template <typename Work>
auto Call(Napi::Env env, Work&& work) {
  try {
    return work();
  } catch (const core::Failure& failure) {
    throw ToError(env, failure);
  }
}

template <typename Work, typename Convert>
class PoolCall : public Napi::AsyncWorker {
 public:
  PoolCall(Napi::Env env, Work work, Convert convert)
      : AsyncWorker(env),
        promise_(env),
        trace_(core::Trace::Current()),
        work_(std::move(work)),
        convert_(std::move(convert)) {}

  Napi::Value Start() {
    Queue();
    return promise_.Promise();
  }

 protected:
  void Execute() override {
    const core::Trace::Scope scope(trace_);
    try {
      result_.emplace(work_());
    } catch (const core::Failure& failure) {
      failure_ = failure;
    } catch (const std::exception& exception) {
      SetError(exception.what());
    }
  }
  void OnOK() override {
    if (failure_) {
      promise_.Reject(ToError(Env(), *failure_).Value());
    } else if (result_) {
      promise_.Resolve(convert_(Env(), std::move(*result_)));
    }
  }
  void OnError(const Napi::Error& error) override { promise_.Reject(error.Value()); }

 private:
  Napi::Promise::Deferred promise_;
  std::shared_ptr<core::Trace> trace_;
  Work work_;
  Convert convert_;
  std::optional<std::invoke_result_t<Work>> result_;
  std::optional<core::Failure> failure_;
};

// Runs `work` now, or on a pool thread if `async` is true: then the result is a promise. `work` holds shared_ptrs of
// all it touches and returns a value, which `convert` turns into JavaScript's.
template <typename Work, typename Convert>
Napi::Value Run(Napi::Env env, const Napi::Value& async, Work work, Convert convert) {
  if (!async.ToBoolean()) return convert(env, Call(env, work));
  return (new PoolCall<Work, Convert>(env, std::move(work), std::move(convert)))->Start();
}

struct Nothing {};
inline Napi::Value FromNothing(Napi::Env env, Nothing) { return env.Undefined(); }

}  // namespace binding
