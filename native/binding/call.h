// Calls from JavaScript to core: conversion of arguments and results, and slow calls on another thread.
#pragma once

#include <napi.h>

#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "binding/async_call.h"
#include "binding/raise.h"
#include "core/failure.h"
#include "core/trace.h"

namespace binding {

// Conversion of arguments. TypeScript has checked their ranges. These functions throw a TypeError for a wrong type, so
// that no argument can crash the process.
uint64_t ToU64(const Napi::Value& value);
uint32_t ToU32(const Napi::Value& value);
std::optional<uint64_t> ToOptionalU64(const Napi::Value& value);
std::vector<uint8_t> ToBytes(const Napi::Value& value);
Napi::Value FromU64(Napi::Env env, uint64_t value);

template <typename Array>
Array ToArray(const Napi::Value& value, napi_typedarray_type type) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) {
    throw Napi::TypeError::New(value.Env(), "expected another kind of typed array");
  }
  return value.As<Array>();
}
Napi::Value FromBytes(Napi::Env env, const std::vector<uint8_t>& bytes);

template <typename Work, typename Convert>
class ThreadCall : public AsyncCall {
 public:
  ThreadCall(Work work, Convert convert)
      : trace_(core::Trace::Current()), work_(std::make_unique<Work>(std::move(work))), convert_(std::move(convert)) {}

 private:
  using Value = std::invoke_result_t<Work>;

  void Execute() override {
    const core::Trace::Scope scope(trace_);
    try {
      result_ = std::make_unique<Value>((*work_)());
    } catch (...) {
      failure_ = std::current_exception();
    }
    work_.reset();  // releases the captured objects on this thread
  }

  Napi::Value Result(Napi::Env env) override {
    if (failure_) std::rethrow_exception(failure_);
    const auto result = std::move(result_);  // released before the promise settles
    return convert_(env, std::move(*result));
  }

  std::shared_ptr<core::Trace> trace_;
  std::unique_ptr<Work> work_;
  Convert convert_;
  std::unique_ptr<Value> result_;
  std::exception_ptr failure_;
};

// Runs `work` on this thread or, if `async` is true, on one of this library's threads; it then returns a promise.
// `work` owns shared_ptrs of all objects that it uses. `convert` converts its result to a JavaScript value.
template <typename Work, typename Convert>
Napi::Value Run(Napi::Env env, const Napi::Value& async, Work work, Convert convert) {
  if (!async.ToBoolean()) return convert(env, work());
  return Start(env, std::make_unique<ThreadCall<Work, Convert>>(std::move(work), std::move(convert)));
}

struct Nothing {};
inline Napi::Value FromNothing(Napi::Env env, Nothing) { return env.Undefined(); }

}  // namespace binding
