// Functions of virtual IOMMUs, their devices, hardware queues and event queues.
#include "core/viommu.h"

#include "binding/addon.h"
#include "binding/iommufd_object.h"

namespace binding {
namespace {

// viommuAllocate(parent, device, type, data): Viommu. The kernel writes its answer to `data`.
std::shared_ptr<core::Viommu> ViommuAllocate(const std::shared_ptr<core::Hwpt>& parent, uint32_t device, uint32_t type,
                                             Napi::Uint8Array data) {
  std::vector<uint8_t> bytes(data.Data(), data.Data() + data.ByteLength());
  auto viommu = core::Viommu::Allocate(parent, device, type, &bytes);
  std::copy(bytes.begin(), bytes.end(), data.Data());
  return viommu;
}

}  // namespace

void InitViommu(Napi::Env env, Napi::Object exports) {
  Export<ViommuAllocate>(env, exports, "viommuAllocate");
  ExportObject<core::Viommu>(env, exports, "viommu");
  Export<core::Vdevice::Allocate>(env, exports, "vdeviceAllocate");
  ExportObject<core::Vdevice>(env, exports, "vdevice");
  Export<core::HwQueue::Allocate>(env, exports, "hwQueueAllocate");
  ExportObject<core::HwQueue>(env, exports, "hwQueue");
  Export<core::VeventQueue::Allocate>(env, exports, "veventQueueAllocate");
  Export<QueueFile<core::VeventQueue>>(env, exports, "veventQueueFile");
  ExportObject<core::VeventQueue>(env, exports, "veventQueue");
}

}  // namespace binding
