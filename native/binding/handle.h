// How JavaScript holds what core owns: an external value that is tagged with its type and keeps the object alive until
// it is released or garbage collected. Every argument is checked: a wrong or released handle is a coded error.
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

[[noreturn]] void ThrowCoded(Napi::Env env, const char* code, const std::string& message);

// One tag for each type that can be behind a handle: chosen at random once, the same in every environment.
template <typename T>
struct HandleType;
template <>
struct HandleType<kernel::Kernel> {
  static constexpr napi_type_tag kTag = {0x6a3f0d1c52b84e01, 0x9b1d7f3e20c64a01};
  static constexpr const char* kName = "kernel";
};
template <>
struct HandleType<core::Fd> {
  static constexpr napi_type_tag kTag = {0x6a3f0d1c52b84e02, 0x9b1d7f3e20c64a02};
  static constexpr const char* kName = "file descriptor";
};
template <>
struct HandleType<core::Ioas> {
  static constexpr napi_type_tag kTag = {0x6a3f0d1c52b84e03, 0x9b1d7f3e20c64a03};
  static constexpr const char* kName = "IOAS";
};
template <>
struct HandleType<core::VfioDevice> {
  static constexpr napi_type_tag kTag = {0x6a3f0d1c52b84e04, 0x9b1d7f3e20c64a04};
  static constexpr const char* kName = "VFIO device";
};
template <>
struct HandleType<core::Mapping> {
  static constexpr napi_type_tag kTag = {0x6a3f0d1c52b84e05, 0x9b1d7f3e20c64a05};
  static constexpr const char* kName = "mapping";
};

template <>
struct HandleType<core::Hwpt> {
  static constexpr napi_type_tag kTag = {0x6a3f0d1c52b84e11, 0x9b1d7f3e20c64a11};
  static constexpr const char* kName = "HWPT";
};
template <>
struct HandleType<core::FaultQueue> {
  static constexpr napi_type_tag kTag = {0x6a3f0d1c52b84e12, 0x9b1d7f3e20c64a12};
  static constexpr const char* kName = "fault queue";
};
template <>
struct HandleType<core::Viommu> {
  static constexpr napi_type_tag kTag = {0x6a3f0d1c52b84e13, 0x9b1d7f3e20c64a13};
  static constexpr const char* kName = "vIOMMU";
};
template <>
struct HandleType<core::Vdevice> {
  static constexpr napi_type_tag kTag = {0x6a3f0d1c52b84e14, 0x9b1d7f3e20c64a14};
  static constexpr const char* kName = "virtual device";
};
template <>
struct HandleType<core::HwQueue> {
  static constexpr napi_type_tag kTag = {0x6a3f0d1c52b84e16, 0x9b1d7f3e20c64a16};
  static constexpr const char* kName = "hardware queue";
};
template <>
struct HandleType<core::VeventQueue> {
  static constexpr napi_type_tag kTag = {0x6a3f0d1c52b84e15, 0x9b1d7f3e20c64a15};
  static constexpr const char* kName = "event queue";
};

template <typename T>
using Box = std::shared_ptr<T>;

template <typename T>
Napi::Value Wrap(Napi::Env env, std::shared_ptr<T> object) {
  // While the environment is torn down nothing can be made, and New() throws: then the object goes here.
  auto box = std::make_unique<Box<T>>(std::move(object));
  auto external = Napi::External<Box<T>>::New(env, box.get(), [](Napi::Env, Box<T>* owned) { delete owned; });
  [[maybe_unused]] const Box<T>* taken = box.release();
  NAPI_THROW_IF_FAILED(env, napi_type_tag_object(env, external, &HandleType<T>::kTag), Napi::Value());
  return external;
}

template <typename T>
bool IsHandleOf(const Napi::Value& value) {
  bool matches = false;
  if (value.IsExternal()) napi_check_object_type_tag(value.Env(), value, &HandleType<T>::kTag, &matches);
  return matches;
}

template <typename T>
Box<T>& Unbox(const Napi::Value& value) {
  if (!IsHandleOf<T>(value)) {
    throw Napi::TypeError::New(value.Env(), std::string("expected a handle of a ") + HandleType<T>::kName);
  }
  return *value.As<Napi::External<Box<T>>>().Data();
}

// A function with data of its own, which goes with it: the hot calls look nothing up. The callback uses the bare
// Node-API.
template <typename Data>
Napi::Function HotFunction(Napi::Env env, const char* name, napi_callback callback, Data data) {
  auto* owned = new Data(std::move(data));
  const auto finalize = [](napi_env, void* pointer, void*) { delete static_cast<Data*>(pointer); };
  napi_value function = nullptr;
  napi_status status = napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, owned, &function);
  if (status == napi_ok) status = napi_add_finalizer(env, function, owned, finalize, nullptr, nullptr);
  if (status != napi_ok) delete owned;
  NAPI_THROW_IF_FAILED(env, status, Napi::Function());
  return {env, function};
}

// The object, alive for as long as the caller keeps what is returned.
template <typename T>
std::shared_ptr<T> Unwrap(const Napi::Value& value) {
  const auto& box = Unbox<T>(value);
  if (!box) ThrowCoded(value.Env(), "ERR_CLOSED", std::string("the ") + HandleType<T>::kName + " is closed");
  return box;
}

// Lets go of what a handle held, now or on another thread: if it was the last share, what it owns closes there.
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
