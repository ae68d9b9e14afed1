// Converts C++ exceptions to JavaScript exceptions.
#include "binding/raise.h"

#include <array>
#include <cstring>
#include <exception>

namespace binding {
namespace {

constexpr std::size_t kMostProperties = 3;

// If the thrown value is not an object, Napi::Error wraps it in an object, as an own property with this name.
constexpr const char* kWrapped = "4bda9e7e-4913-4dbc-95de-891cbf66598e-errorVal";

// The thrown value. Napi::Error::Value() is not used: it would look for that property on the error's prototypes, too.
napi_value ValueOf(napi_env env, const Napi::Error& error) {
  napi_value value = error.Napi::Reference<Napi::Object>::Value();
  napi_value key = nullptr;
  bool wrapped = false;
  if (napi_create_string_utf8(env, kWrapped, NAPI_AUTO_LENGTH, &key) == napi_ok &&
      napi_has_own_property(env, value, key, &wrapped) == napi_ok && wrapped) {
    napi_get_property(env, value, key, &value);
  }
  return value;
}

// The own properties of an error. They are defined, not assigned: an assignment would run a setter of Object.prototype.
class Properties {
 public:
  explicit Properties(napi_env env) : env_(env) {}

  void Add(const char* name, napi_value value) {
    all_.at(count_++) = {.utf8name = name, .value = value, .attributes = napi_default_jsproperty};
  }

  void Add(const char* name, const char* text) {
    napi_value value = nullptr;
    if (napi_create_string_utf8(env_, text, NAPI_AUTO_LENGTH, &value) == napi_ok) Add(name, value);
  }

  void Add(const char* name, int number) {
    napi_value value = nullptr;
    if (napi_create_int32(env_, number, &value) == napi_ok) Add(name, value);
  }

  void DefineOn(napi_value object) const { napi_define_properties(env_, object, count_, all_.data()); }

 private:
  napi_env env_;
  std::array<napi_property_descriptor, kMostProperties> all_ = {};
  std::size_t count_ = 0;
};

napi_value NewError(napi_env env, CreateError create, const char* message, const Properties& properties) noexcept {
  napi_value text = nullptr;
  napi_value error = nullptr;
  if (napi_create_string_utf8(env, message, NAPI_AUTO_LENGTH, &text) != napi_ok) return nullptr;
  if (create(env, nullptr, text, &error) != napi_ok) return nullptr;
  properties.DefineOn(error);
  return error;
}

}  // namespace

napi_value NewError(napi_env env, CreateError create, const char* code, const char* message) noexcept {
  Properties properties(env);
  if (code != nullptr) properties.Add("code", code);
  return NewError(env, create, message, properties);
}

napi_value NewError(napi_env env, const core::Failure& failure) noexcept {
  Properties properties(env);
  properties.Add("errno", failure.error);
  properties.Add("syscall", failure.syscall);
  if (failure.ioctl != nullptr) properties.Add("ioctl", failure.ioctl);
  return NewError(env, napi_create_error, std::strerror(failure.error), properties);
}

bool CanRunJavaScript(napi_env env) noexcept {
  // napi_coerce_to_bool fails when the environment cannot run JavaScript, and does not run any.
  napi_value undefined = nullptr;
  napi_value result = nullptr;
  return napi_get_undefined(env, &undefined) == napi_ok && napi_coerce_to_bool(env, undefined, &result) == napi_ok;
}

void Raise(napi_env env, napi_value error) noexcept {
  bool pending = false;
  if (napi_is_exception_pending(env, &pending) == napi_ok && pending) return;
  if (error != nullptr && napi_throw(env, error) == napi_ok) return;
  if (napi_throw_error(env, nullptr, "a native call failed, and its error cannot be described") == napi_ok) return;
  if (napi_is_exception_pending(env, &pending) == napi_ok && pending) return;
  if (!CanRunJavaScript(env)) return;  // no JavaScript gets the callback's result
  napi_fatal_error("vfio-dmabuf", NAPI_AUTO_LENGTH, "no exception can be thrown", NAPI_AUTO_LENGTH);
}

napi_value CaughtValue(napi_env env) noexcept {
  try {
    throw;
  } catch (const core::Failure& failure) {
    return NewError(env, failure);
  } catch (const Napi::Error& error) {
    try {
      return ValueOf(env, error);
    } catch (const Napi::Error&) {
      return nullptr;
    }
  } catch (const std::exception& exception) {
    return NewError(env, napi_create_error, nullptr, exception.what());
  } catch (...) {
    return NewError(env, napi_create_error, nullptr, "a native exception of no known kind");
  }
}

void RaiseCaught(napi_env env) noexcept { Raise(env, CaughtValue(env)); }

void ThrowCoded(Napi::Env env, const char* code, const std::string& message) {
  throw Napi::Error(env, NewError(env, napi_create_error, code, message.c_str()));
}

}  // namespace binding
