// VFIO_DEVICE_FEATURE: probing, small features, and the dma-buf export.
#include "binding/addon.h"
#include "binding/vf_token.h"

namespace binding {

void InitVfioFeature(Napi::Env env, Napi::Object exports) {
  Export<&core::VfioDevice::Probe>(env, exports, "vfioProbe");
  Export<&core::VfioDevice::SetVfToken>(env, exports, "vfioSetVfToken");
  Export<&core::VfioDevice::SetBusMaster>(env, exports, "vfioSetBusMaster");
  Export<&core::VfioDevice::ZpciError>(env, exports, "vfioZpciError");
  Export<&core::VfioDevice::ExportDmaBuf>(env, exports, "vfioExportDmaBuf");
}

}  // namespace binding
