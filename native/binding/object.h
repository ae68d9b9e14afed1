// Objects and arrays for JavaScript. Their properties are defined, not assigned: an assignment ([[Set]]) would run an
// accessor that a program put on a prototype, which could read the value, throw, or leave the property out. No code in
// this folder assigns a property; test/long/hostile-javascript.test.ts checks this.
#pragma once

#include <napi.h>

#include <string>

#include "binding/raise.h"

namespace binding {

// See binding/convert.h.
template <typename T>
Napi::Value ToJs(Napi::Env env, const T& value);

inline void Define(const Napi::Object& object, const char* name, napi_value value) {
  const napi_property_descriptor property = {.utf8name = name, .value = value, .attributes = napi_default_jsproperty};
  const napi_status status = napi_define_properties(object.Env(), object, 1, &property);
  NAPI_THROW_IF_FAILED_VOID(object.Env(), status);
}

class Record : public Napi::Object {
 public:
  explicit Record(Napi::Env env) : Napi::Object(Napi::Object::New(env)) {}

  template <typename T>
  Record& Define(const char* name, const T& value) {
    binding::Define(*this, name, ToJs<T>(Env(), value));
    return *this;
  }

  template <typename... Arguments>
  void Set(Arguments&&...) = delete;
};

class List : public Napi::Array {
 public:
  explicit List(Napi::Env env) : Napi::Array(Napi::Array::New(env)) {}

  template <typename T>
  void Append(const T& value) {
    binding::Define(*this, std::to_string(length_).c_str(), ToJs<T>(Env(), value));
    ++length_;
  }

  template <typename... Arguments>
  void Set(Arguments&&...) = delete;

 private:
  uint32_t length_ = 0;
};

// `function` takes a Napi::CallbackInfo.
template <auto function>
void ExportCallback(Napi::Env env, const Napi::Object& exports, const char* name) {
  napi_value value = nullptr;
  const napi_status status = napi_create_function(env, name, NAPI_AUTO_LENGTH, Callback<function>, nullptr, &value);
  NAPI_THROW_IF_FAILED_VOID(env, status);
  Define(exports, name, value);
}

}  // namespace binding
