// Calls that run on other threads, and their promises.
#pragma once

#include <napi.h>

#include <memory>

namespace binding {

class AsyncCall {
 public:
  virtual ~AsyncCall() = default;

  // Runs on one of core's threads. Must not throw.
  virtual void Execute() = 0;
  // Runs on the environment's thread. The promise resolves to the returned value. If Result() throws, the promise is
  // rejected with the exception.
  virtual Napi::Value Result(Napi::Env env) = 0;

  napi_deferred promise = nullptr;
};

// Starts the call and returns its promise. An environment that ends waits at most one second for its unfinished calls,
// so that the objects that they use are closed by then. A call that takes longer continues and closes its objects when
// it ends.
Napi::Value Start(Napi::Env env, std::unique_ptr<AsyncCall> call);

}  // namespace binding
