// Handles: external values through which JavaScript refers to core's objects. A handle has its type's tag and keeps the
// object alive until it is released or garbage collected. Each function checks its handles: a handle of another type or
// a released one throws.
#pragma once

#include <napi.h>

#include <memory>

#include "binding/call.h"
#include "core/dma_buf.h"
#include "core/event_queue.h"
#include "core/fd.h"
#include "core/hwpt.h"
#include "core/iommufd.h"
#include "core/mapping.h"
#include "core/memory.h"
#include "core/vfio.h"
#include "core/viommu.h"

namespace binding {

// The types that handles can have, and their names in messages.
template <typename T>
inline constexpr const char* kHandleName = nullptr;
template <>
inline constexpr const char* kHandleName<kernel::Kernel> = "kernel";
template <>
inline constexpr const char* kHandleName<core::Fd> = "file descriptor";
template <>
inline constexpr const char* kHandleName<core::Ioas> = "IOAS";
template <>
inline constexpr const char* kHandleName<core::VfioDevice> = "VFIO device";
template <>
inline constexpr const char* kHandleName<core::Mapping> = "mapping";
template <>
inline constexpr const char* kHandleName<core::Hwpt> = "HWPT";
template <>
inline constexpr const char* kHandleName<core::FaultQueue> = "fault queue";
template <>
inline constexpr const char* kHandleName<core::Viommu> = "vIOMMU";
template <>
inline constexpr const char* kHandleName<core::Vdevice> = "virtual device";
template <>
inline constexpr const char* kHandleName<core::HwQueue> = "hardware queue";
template <>
inline constexpr const char* kHandleName<core::VeventQueue> = "event queue";

// A random tag, different for each type and each loaded copy of the addon: another copy may have another memory layout.
napi_type_tag NewTypeTag();

// One tag for all environments of this copy.
template <typename T>
const napi_type_tag& TypeTag() {
  static const napi_type_tag kTag = NewTypeTag();
  return kTag;
}

template <typename T>
using Box = std::shared_ptr<T>;  // empty when closed

// The handle and the functions that use the object share the box, so a function does not need the handle.
template <typename T>
using Cell = std::shared_ptr<Box<T>>;

template <typename T>
Napi::Value Wrap(Napi::Env env, std::shared_ptr<T> object) {
  // New() throws while the environment is torn down. `cell` then releases the object.
  auto cell = std::make_unique<Cell<T>>(std::make_shared<Box<T>>(std::move(object)));
  auto external = Napi::External<Cell<T>>::New(env, cell.get(), [](Napi::Env, Cell<T>* owned) { delete owned; });
  [[maybe_unused]] const Cell<T>* taken = cell.release();
  NAPI_THROW_IF_FAILED(env, napi_type_tag_object(env, external, &TypeTag<T>()), Napi::Value());
  return external;
}

template <typename T>
bool IsHandleOf(const Napi::Value& value) {
  bool matches = false;
  if (value.IsExternal()) napi_check_object_type_tag(value.Env(), value, &TypeTag<T>(), &matches);
  return matches;
}

template <typename T>
Cell<T>& CellOf(const Napi::Value& value) {
  if (!IsHandleOf<T>(value)) {
    throw Napi::TypeError::New(value.Env(), std::string("expected a handle of a ") + kHandleName<T>);
  }
  return *value.As<Napi::External<Cell<T>>>().Data();
}

template <typename T>
Box<T>& Unbox(const Napi::Value& value) {
  return *CellOf<T>(value);
}

// Wraps `callback`, which may throw, as a callback of plain Node-API.
template <napi_callback callback>
napi_value HotCallback(napi_env env, napi_callback_info info) noexcept {
  try {
    return callback(env, info);
  } catch (...) {
    RaiseCaught(env);
    return nullptr;
  }
}

// A function with its own data, so that a frequent call unwraps no handle. The data owns what the callback needs and is
// freed with the function.
template <napi_callback callback, typename Data>
Napi::Function HotFunction(Napi::Env env, const char* name, Data data) {
  auto* owned = new Data(std::move(data));
  const auto finalize = [](napi_env, void* pointer, void*) { delete static_cast<Data*>(pointer); };
  napi_value function = nullptr;
  napi_status status = napi_create_function(env, name, NAPI_AUTO_LENGTH, HotCallback<callback>, owned, &function);
  if (status == napi_ok) status = napi_add_finalizer(env, function, owned, finalize, nullptr, nullptr);
  if (status != napi_ok) delete owned;
  NAPI_THROW_IF_FAILED(env, status, Napi::Function());
  return {env, function};
}

template <typename State>
napi_value Word(napi_env env, napi_callback_info info) {
  void* data = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  napi_value result = nullptr;
  napi_create_double(env, static_cast<double>((*static_cast<std::shared_ptr<State>*>(data))->Word()), &result);
  return result;
}

// A function that returns the state word of `state` (core/device_state.h).
template <typename State>
Napi::Function WordFunction(Napi::Env env, std::shared_ptr<State> state) {
  return HotFunction<Word<State>>(env, "word", std::move(state));
}

template <typename T>
[[noreturn]] void ThrowClosed(Napi::Env env) {
  ThrowCoded(env, "ERR_CLOSED", std::string("the ") + kHandleName<T> + " is closed");
}

// The handle's object. The returned pointer keeps it alive.
template <typename T>
std::shared_ptr<T> Unwrap(const Napi::Value& value) {
  const auto& box = Unbox<T>(value);
  if (!box) ThrowClosed<T>(value.Env());
  return box;
}

// Releases the handle's share of its object, on this thread or, if `async`, on another one. The last share destroys the
// object on that thread.
template <typename T>
Napi::Value Release(Napi::Env env, const Napi::Value& async, std::shared_ptr<T> object) {
  return Run(
      env, async,
      [object = std::move(object)]() mutable {
        object.reset();
        return Nothing{};
      },
      FromNothing);
}

}  // namespace binding
