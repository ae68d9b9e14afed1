// Functions of the addon that are made from C++ functions: the parameters' types say how the arguments are converted.
#pragma once

#include <napi.h>

#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "binding/convert.h"

namespace binding {

template <typename T>
concept Handled = kHandleName<T> != nullptr;

// What a call keeps of an argument until it ends: a share of a handle's object, or a value.
template <typename Parameter>
auto Keep(const Napi::CallbackInfo& info, std::size_t index) {
  using T = std::remove_cvref_t<Parameter>;
  if constexpr (std::is_same_v<T, Napi::Env>) {
    return info.Env();
  } else if constexpr (Handled<T>) {
    return Unwrap<T>(info[index]);
  } else {
    return FromJs<T>(info[index]);
  }
}

template <typename Parameter, typename Kept>
auto& Pass(Kept& kept) {
  if constexpr (Handled<std::remove_cvref_t<Parameter>>) {
    return *kept;
  } else {
    return kept;
  }
}

// The result type and the parameters of a function or a method. A method's first parameter is its object.
template <typename Function>
struct Signature;

template <typename Returned, typename... Parameters>
struct Signature<Returned (*)(Parameters...)> {
  using Result = std::conditional_t<std::is_void_v<Returned>, Nothing, std::decay_t<Returned>>;
  using First = std::tuple_element_t<0, std::tuple<Parameters..., void>>;
  // A first parameter of type Napi::Env is no argument.
  static constexpr std::size_t kFirst = std::is_same_v<First, Napi::Env> ? 1 : 0;
  static constexpr std::size_t kArguments = sizeof...(Parameters) - kFirst;

  template <std::size_t... index>
  static auto KeepAll(const Napi::CallbackInfo& info, std::index_sequence<index...>) {
    return std::tuple{Keep<Parameters>(info, index - kFirst)...};
  }
  static auto KeepAll(const Napi::CallbackInfo& info) {
    return KeepAll(info, std::index_sequence_for<Parameters...>());
  }

  template <auto function, typename Kept>
  static Result Call(Kept& kept) {
    return std::apply(
        [](auto&... each) -> Result {
          if constexpr (std::is_void_v<Returned>) {
            std::invoke(function, Pass<Parameters>(each)...);
            return Nothing{};
          } else {
            return std::invoke(function, Pass<Parameters>(each)...);
          }
        },
        kept);
  }
};

template <typename Returned, typename Object, typename... Parameters>
struct Signature<Returned (Object::*)(Parameters...)> : Signature<Returned (*)(Object&, Parameters...)> {};

template <typename Returned, typename Object, typename... Parameters>
struct Signature<Returned (Object::*)(Parameters...) const> : Signature<Returned (*)(const Object&, Parameters...)> {};

template <auto function>
Napi::Value CallNow(const Napi::CallbackInfo& info) {
  using Of = Signature<decltype(function)>;
  auto kept = Of::KeepAll(info);
  return ToJs(info.Env(), Of::template Call<function>(kept));
}

template <auto function>
Napi::Value CallAsync(const Napi::CallbackInfo& info) {
  using Of = Signature<decltype(function)>;
  static_assert(Of::kFirst == 0, "a call on another thread has no environment");
  auto work = [kept = Of::KeepAll(info)]() mutable { return Of::template Call<function>(kept); };
  return Run(info.Env(), info[Of::kArguments], std::move(work), ToJs<typename Of::Result>);
}

// Exports a function of the addon: a C++ function or method whose arguments and result are converted, or a function
// that takes a Napi::CallbackInfo.
template <auto function>
void Export(Napi::Env env, const Napi::Object& exports, const char* name) {
  if constexpr (std::is_invocable_v<decltype(function), const Napi::CallbackInfo&>) {
    ExportCallback<function>(env, exports, name);
  } else {
    ExportCallback<CallNow<function>>(env, exports, name);
  }
}

// Exports a function with one more argument, `async`: if it is true, the call is made on another thread, and the result
// is a promise.
template <auto function>
void ExportAsync(Napi::Env env, const Napi::Object& exports, const char* name) {
  ExportCallback<CallAsync<function>>(env, exports, name);
}

}  // namespace binding
