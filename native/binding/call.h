// From JavaScript into core and back: argument conversion, and slow calls on a pool thread.
#pragma once

#include <napi.h>

#include <exception>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "binding/raise.h"
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

// Runs a call of core's. Its Failure becomes a JavaScript error where the function of the addon ends (Callback).
template <typename Work>
auto Call(Napi::Env, Work&& work) {
  return work();
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

  // The worker deletes itself when it is done.
  static Napi::Value Start(std::unique_ptr<PoolCall> call) {
    const Napi::Value promise = call->promise_.Promise();
    call->Queue();
    static_cast<void>(call.release());
    return promise;
  }

 protected:
  void Execute() override {
    const core::Trace::Scope scope(trace_);
    try {
      result_.emplace(work_());
    } catch (...) {
      failure_ = std::current_exception();
    }
  }

  // The promise is settled, whatever fails.
  void OnOK() override {
    const Napi::Env env = Env();
    napi_value result = nullptr;
    try {
      if (failure_) std::rethrow_exception(failure_);
      result = convert_(env, std::move(*result_));
    } catch (...) {
      napi_value error = CaughtValue(env);
      promise_.Reject(error == nullptr ? napi_value(env.Undefined()) : error);
      return;
    }
    promise_.Resolve(result);
  }

 private:
  Napi::Promise::Deferred promise_;
  std::shared_ptr<core::Trace> trace_;
  Work work_;
  Convert convert_;
  std::optional<std::invoke_result_t<Work>> result_;
  std::exception_ptr failure_;
};

// Runs `work` now, or on a pool thread if `async` is true: then the result is a promise. `work` holds shared_ptrs of
// all it touches and returns a value, which `convert` turns into JavaScript's.
template <typename Work, typename Convert>
Napi::Value Run(Napi::Env env, const Napi::Value& async, Work work, Convert convert) {
  if (!async.ToBoolean()) return convert(env, work());
  return PoolCall<Work, Convert>::Start(
      std::make_unique<PoolCall<Work, Convert>>(env, std::move(work), std::move(convert)));
}

struct Nothing {};
inline Napi::Value FromNothing(Napi::Env env, Nothing) { return env.Undefined(); }

}  // namespace binding
