// Functions that revoke a VFIO device's dma-bufs temporarily: reset, hot reset, low power.
#include <algorithm>
#include <array>

#include "binding/addon.h"

namespace binding {

template <>
Napi::Value ToJs(Napi::Env env, const core::VfioDevice::HotResetInfo& info) {
  auto words = Napi::Uint32Array::New(env, 4 * info.devices.size());
  for (std::size_t i = 0; i < info.devices.size(); ++i) {
    const auto& [devid, segment, bus, devfn] = info.devices[i];
    std::ranges::copy(std::array<uint32_t, 4>{devid, segment, bus, devfn}, words.Data() + 4 * i);
  }
  return Record(env).Define("flags", info.flags).Define("devices", words);
}

namespace {

// A device that a call may revoke. This begins when the argument is converted, before another thread makes the call.
struct Revoked {
  std::shared_ptr<core::VfioDevice> device;
  std::shared_ptr<core::Revoking> revoking;
};

}  // namespace

template <>
Revoked FromJs(const Napi::Value& value) {
  auto device = Unwrap<core::VfioDevice>(value);
  auto revoking = device->BeginRevoking();
  return {.device = std::move(device), .revoking = std::move(revoking)};
}

namespace {

// vfioReset(device, async)
void Reset(const Revoked& revoked) { revoked.device->Reset(*revoked.revoking); }

// vfioEnterLowPower(device, async)
void EnterLowPower(const Revoked& revoked) { revoked.device->EnterLowPower(*revoked.revoking); }

// vfioEnterLowPowerWithWakeUp(device, eventfd, async)
void EnterLowPowerWithWakeUp(const Revoked& revoked, const core::Fd& wake_up) {
  revoked.device->EnterLowPowerWithWakeUp(*revoked.revoking, wake_up);
}

}  // namespace

void InitVfioReset(Napi::Env env, Napi::Object exports) {
  ExportAsync<Reset>(env, exports, "vfioReset");
  Export<&core::VfioDevice::GetHotResetInfo>(env, exports, "vfioHotResetInfo");
  ExportAsync<&core::VfioDevice::HotReset>(env, exports, "vfioHotReset");
  ExportAsync<EnterLowPower>(env, exports, "vfioEnterLowPower");
  ExportAsync<EnterLowPowerWithWakeUp>(env, exports, "vfioEnterLowPowerWithWakeUp");
  ExportAsync<&core::VfioDevice::ExitLowPower>(env, exports, "vfioExitLowPower");
}

}  // namespace binding
