// Conversion of C++ exceptions to JavaScript exceptions, in plain Node-API: Napi::Error assigns and looks up
// properties, which runs accessors that a program put on Object.prototype.
#pragma once

#include <napi.h>

#include <string>

#include "core/failure.h"

namespace binding {

// napi_create_error, napi_create_type_error or napi_create_range_error
using CreateError = napi_status (*)(napi_env env, napi_value code, napi_value message, napi_value* result);

// Creates an error with the own property `code`, unless `code` is nullptr. Returns nullptr if it cannot be created.
napi_value NewError(napi_env env, CreateError create, const char* code, const char* message) noexcept;

// Creates an Error with `errno` (positive), `syscall` and, for an ioctl, `ioctl`. explain() in lib/errors/errors.ts
// converts it to a KernelError. Returns nullptr if it cannot be created.
napi_value NewError(napi_env env, const core::Failure& failure) noexcept;

// Returns false if the environment is being torn down or its thread was terminated: it then runs no more JavaScript.
// Call it only while no exception is pending.
bool CanRunJavaScript(napi_env env) noexcept;

// Throws `error` into JavaScript. If that fails, or `error` is nullptr, throws another error, so that a failed call
// never looks successful. Ends the process if no exception can be thrown.
void Raise(napi_env env, napi_value error) noexcept;

// Call it in a catch block: the caught exception as a JavaScript value, or nullptr.
napi_value CaughtValue(napi_env env) noexcept;

// Call it in a catch block: throws the caught exception into JavaScript.
void RaiseCaught(napi_env env) noexcept;

[[noreturn]] void ThrowCoded(Napi::Env env, const char* code, const std::string& message);

// A Node-API callback that calls `function`, which takes a Napi::CallbackInfo and may throw.
template <auto function>
napi_value Callback(napi_env env, napi_callback_info info) noexcept {
  try {
    const Napi::CallbackInfo arguments(env, info);
    if constexpr (std::is_void_v<decltype(function(arguments))>) {
      function(arguments);
      return nullptr;
    } else {
      return function(arguments);
    }
  } catch (...) {
    RaiseCaught(env);
    return nullptr;
  }
}

}  // namespace binding
