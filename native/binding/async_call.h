// Calls of one environment that run on other threads, and the promises that wait for them.
#pragma once

#include <napi.h>

#include <memory>

namespace binding {

class AsyncCall {
 public:
  virtual ~AsyncCall() = default;

  // On a thread of core's. Throws nothing.
  virtual void Execute() = 0;
  // What the promise resolves to, on the environment's thread; what it throws as a Napi::Error, the promise rejects
  // with.
  virtual Napi::Value Result(Napi::Env env) = 0;

  napi_deferred promise = nullptr;
};

// Starts the call; the result is its promise. An environment that ends waits a second for calls that are under way, so
// that what they hold is closed by then; a call that takes longer goes on alone, and closes what it held at its end.
Napi::Value Start(Napi::Env env, std::unique_ptr<AsyncCall> call);

}  // namespace binding
