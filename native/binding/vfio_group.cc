// Functions of a VFIO group.
#include "core/vfio_group.h"

#include "binding/addon.h"
#include "binding/call.h"
#include "binding/handle.h"

namespace binding {
namespace {

// groupStatus(group): flags
Napi::Value GroupStatus(const Napi::CallbackInfo& info) {
  const auto group = Unwrap<core::Fd>(info[0]);
  return Napi::Number::New(info.Env(), core::GetGroupStatus(*group));
}

// groupSetContainer(group, container or iommufd, async)
Napi::Value GroupSetContainer(const Napi::CallbackInfo& info) {
  return Run(
      info.Env(), info[2],
      [group = Unwrap<core::Fd>(info[0]), container = Unwrap<core::Fd>(info[1])] {
        core::SetContainer(*group, *container);
        return Nothing{};
      },
      FromNothing);
}

// groupUnsetContainer(group, async)
Napi::Value GroupUnsetContainer(const Napi::CallbackInfo& info) {
  return Run(
      info.Env(), info[1],
      [group = Unwrap<core::Fd>(info[0])] {
        core::UnsetContainer(*group);
        return Nothing{};
      },
      FromNothing);
}

// groupDeviceFd(group, name, async): Fd
Napi::Value GroupDeviceFd(const Napi::CallbackInfo& info) {
  return Run(
      info.Env(), info[2],
      [group = Unwrap<core::Fd>(info[0]), name = info[1].As<Napi::String>().Utf8Value()] {
        return core::GetDeviceFd(*group, name);
      },
      Wrap<core::Fd>);
}

}  // namespace

void InitVfioGroup(Napi::Env env, Napi::Object exports) {
  Export<GroupStatus>(env, exports, "groupStatus");
  Export<GroupSetContainer>(env, exports, "groupSetContainer");
  Export<GroupUnsetContainer>(env, exports, "groupUnsetContainer");
  Export<GroupDeviceFd>(env, exports, "groupDeviceFd");
}

}  // namespace binding
