// Functions of a VFIO group.
#include "core/vfio_group.h"

#include "binding/addon.h"

namespace binding {

void InitVfioGroup(Napi::Env env, Napi::Object exports) {
  Export<core::GetGroupStatus>(env, exports, "groupStatus");
  ExportAsync<core::SetContainer>(env, exports, "groupSetContainer");
  ExportAsync<core::UnsetContainer>(env, exports, "groupUnsetContainer");
  ExportAsync<core::GetDeviceFd>(env, exports, "groupDeviceFd");
}

}  // namespace binding
