// Functions of fault queues.
#include "core/event_queue.h"

#include "binding/addon.h"
#include "binding/iommufd_object.h"

namespace binding {
namespace {

// faultQueueAllocate(iommufd): FaultQueue
Napi::Value FaultQueueAllocate(const Napi::CallbackInfo& info) {
  const auto iommufd = Unwrap<core::Fd>(info[0]);
  return Wrap(info.Env(), core::FaultQueue::Allocate(iommufd));
}

// faultQueueFile(queue): Fd. The queue cannot be destroyed while the fd is open.
Napi::Value FaultQueueFile(const Napi::CallbackInfo& info) {
  const auto file = Unwrap<core::FaultQueue>(info[0])->file();
  if (!file) ThrowCoded(info.Env(), "ERR_CLOSED", "the fault queue is closed");
  return Wrap(info.Env(), file);
}

}  // namespace

void InitEventQueue(Napi::Env env, Napi::Object exports) {
  Export<FaultQueueAllocate>(env, exports, "faultQueueAllocate");
  Export<FaultQueueFile>(env, exports, "faultQueueFile");
  ExportObject<core::FaultQueue>(env, exports, "faultQueue");
}

}  // namespace binding
