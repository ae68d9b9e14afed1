// Functions that all objects of an iommufd with an id share: their id, and three ways to destroy them.
#pragma once

#include "binding/addon.h"
#include "core/event_queue.h"

namespace binding {

// xDestroy(object)
template <typename T>
void ObjectDestroy(const Napi::CallbackInfo& info) {
  auto& object = Unbox<T>(info[0]);
  if (!object) return;
  // If other threads use the object, the last of them destroys it, so that the kernel cannot reuse the id earlier.
  if (object.use_count() == 1) object->Destroy();
  object.reset();
}

// xRelease(object): releases the handle's share. The last share tries to destroy the object.
template <typename T>
void ObjectRelease(const Napi::CallbackInfo& info) {
  Unbox<T>(info[0]).reset();
}

// xDestroyLater(object): a promise. A later xDestroy() only releases the handle.
template <typename T>
Napi::Value ObjectDestroyLater(const Napi::CallbackInfo& info) {
  return Run(
      info.Env(), Napi::Boolean::New(info.Env(), true),
      [object = Unwrap<T>(info[0])] {
        object->Destroy();
        return Nothing{};
      },
      FromNothing);
}

template <typename T>
uint32_t ObjectId(const T& object) {
  return object.id();
}

// xFile(queue): Fd. The queue cannot be destroyed while the fd is open.
template <typename Queue>
std::shared_ptr<core::Fd> QueueFile(Napi::Env env, const Queue& queue) {
  if (!queue.file()) ThrowClosed<Queue>(env);
  return queue.file();
}

// Exports xId, xDestroy, xRelease and xDestroyLater.
template <typename T>
void ExportObject(Napi::Env env, Napi::Object exports, const char* name) {
  Record functions(env);
  Export<ObjectId<T>>(env, functions, "id");
  Export<ObjectDestroy<T>>(env, functions, "destroy");
  Export<ObjectRelease<T>>(env, functions, "release");
  Export<ObjectDestroyLater<T>>(env, functions, "destroyLater");
  Define(exports, name, functions);
}

// An IOAS or a HWPT. A device can be attached to either.
inline std::shared_ptr<core::IommufdObject> UnwrapPageTable(const Napi::Value& value) {
  if (IsHandleOf<core::Hwpt>(value)) return Unwrap<core::Hwpt>(value);
  return Unwrap<core::Ioas>(value);
}

}  // namespace binding
