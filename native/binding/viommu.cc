// Functions of virtual IOMMUs, their devices, hardware queues and event queues.
#include "core/viommu.h"

#include "binding/addon.h"
#include "binding/iommufd_object.h"

namespace binding {
namespace {

// viommuAllocate(parent, device, type, data): Viommu. The kernel writes its answer to `data`.
Napi::Value ViommuAllocate(const Napi::CallbackInfo& info) {
  auto parent = Unwrap<core::Hwpt>(info[0]);
  auto data = ToArray<Napi::Uint8Array>(info[3], napi_uint8_array);
  std::vector<uint8_t> bytes(data.Data(), data.Data() + data.ByteLength());
  auto viommu = core::Viommu::Allocate(std::move(parent), ToU32(info[1]), ToU32(info[2]), &bytes);
  std::copy(bytes.begin(), bytes.end(), data.Data());
  return Wrap(info.Env(), std::move(viommu));
}

// vdeviceAllocate(viommu, device, virtualId): Vdevice
Napi::Value VdeviceAllocate(const Napi::CallbackInfo& info) {
  auto viommu = Unwrap<core::Viommu>(info[0]);
  return Wrap(info.Env(), core::Vdevice::Allocate(std::move(viommu), ToU32(info[1]), ToU64(info[2])));
}

// hwQueueAllocate(viommu, type, index, iova, length): HwQueue
Napi::Value HwQueueAllocate(const Napi::CallbackInfo& info) {
  auto viommu = Unwrap<core::Viommu>(info[0]);
  return Wrap(info.Env(), core::HwQueue::Allocate(std::move(viommu), ToU32(info[1]), ToU32(info[2]), ToU64(info[3]),
                                                  ToU64(info[4])));
}

// veventQueueAllocate(viommu, type, depth): VeventQueue
Napi::Value VeventQueueAllocate(const Napi::CallbackInfo& info) {
  auto viommu = Unwrap<core::Viommu>(info[0]);
  return Wrap(info.Env(), core::VeventQueue::Allocate(std::move(viommu), ToU32(info[1]), ToU32(info[2])));
}

// veventQueueFile(queue): Fd. The queue cannot be destroyed while the fd is open.
Napi::Value VeventQueueFile(const Napi::CallbackInfo& info) {
  const auto file = Unwrap<core::VeventQueue>(info[0])->file();
  if (!file) ThrowCoded(info.Env(), "ERR_CLOSED", "the event queue is closed");
  return Wrap(info.Env(), file);
}

}  // namespace

void InitViommu(Napi::Env env, Napi::Object exports) {
  Export<ViommuAllocate>(env, exports, "viommuAllocate");
  ExportObject<core::Viommu>(env, exports, "viommu");
  Export<VdeviceAllocate>(env, exports, "vdeviceAllocate");
  ExportObject<core::Vdevice>(env, exports, "vdevice");
  Export<HwQueueAllocate>(env, exports, "hwQueueAllocate");
  ExportObject<core::HwQueue>(env, exports, "hwQueue");
  Export<VeventQueueAllocate>(env, exports, "veventQueueAllocate");
  Export<VeventQueueFile>(env, exports, "veventQueueFile");
  ExportObject<core::VeventQueue>(env, exports, "veventQueue");
}

}  // namespace binding
