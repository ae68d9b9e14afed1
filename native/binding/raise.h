// How a failure becomes a JavaScript exception. All of it is on the bare Node-API: Napi::Error assigns and looks up
// properties, which runs accessors that a program put on Object.prototype.
#pragma once

#include <napi.h>

#include <string>

#include "core/failure.h"

namespace binding {

// napi_create_error, napi_create_type_error or napi_create_range_error
using CreateError = napi_status (*)(napi_env env, napi_value code, napi_value message, napi_value* result);

// An error, with `code` as its own property unless it is nullptr. nullptr: none can be created.
napi_value NewError(napi_env env, CreateError create, const char* code, const char* message) noexcept;

// An Error with `errno` (positive), `syscall` and `ioctl`; lib/errors.ts makes a KernelError of it.
napi_value NewError(napi_env env, const core::Failure& failure) noexcept;

// False while the environment is being torn down or its thread was terminated: no JavaScript runs from then on. No
// exception may be pending.
bool CanRunJavaScript(napi_env env) noexcept;

// Throws `error` into JavaScript. When the callback returns, an exception is pending, whatever `error` is; otherwise a
// failed call would look like a successful one. The process ends if no exception can be made pending.
void Raise(napi_env env, napi_value error) noexcept;

// In a catch block: what is being caught, as a JavaScript value.
napi_value CaughtValue(napi_env env) noexcept;

// In a catch block: throws it into JavaScript.
void RaiseCaught(napi_env env) noexcept;

[[noreturn]] void ThrowCoded(Napi::Env env, const char* code, const std::string& message);

// A callback of the Node-API that calls `function`, which takes a Napi::CallbackInfo and may throw.
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
