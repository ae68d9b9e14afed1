// Functions that revoke a VFIO device's dma-bufs temporarily: reset, hot reset, low power.
#include <algorithm>
#include <array>

#include "binding/addon.h"
#include "binding/call.h"
#include "binding/handle.h"

namespace binding {
namespace {

// vfioReset(device, async)
Napi::Value VfioReset(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  return Run(
      info.Env(), info[1],
      [device, revoking = device->BeginRevoking()] {
        device->Reset(*revoking);
        return Nothing{};
      },
      FromNothing);
}

// vfioHotResetInfo(device): { flags, devices: Uint32Array [devid, segment, bus, devfn, devid, …] }
Napi::Value VfioHotResetInfo(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  const auto answer = device->GetHotResetInfo();
  auto words = Napi::Uint32Array::New(info.Env(), 4 * answer.devices.size());
  for (std::size_t i = 0; i < answer.devices.size(); ++i) {
    const auto& [devid, segment, bus, devfn] = answer.devices[i];
    std::ranges::copy(std::array<uint32_t, 4>{devid, segment, bus, devfn}, words.Data() + 4 * i);
  }
  Record result(info.Env());
  result.Define("flags", answer.flags);
  result.Define("devices", words);
  return result;
}

// vfioHotReset(device, addresses, groups, async)
Napi::Value VfioHotReset(const Napi::CallbackInfo& info) {
  auto device = Unwrap<core::VfioDevice>(info[0]);
  const auto list = info[1].As<Napi::Array>();
  std::vector<std::string> addresses;
  addresses.reserve(list.Length());
  for (uint32_t i = 0; i < list.Length(); ++i) addresses.push_back(list.Get(i).ToString());
  const auto files = info[2].As<Napi::Array>();
  std::vector<std::shared_ptr<core::Fd>> groups;
  groups.reserve(files.Length());
  for (uint32_t i = 0; i < files.Length(); ++i) groups.push_back(Unwrap<core::Fd>(files.Get(i)));
  return Run(
      info.Env(), info[3],
      [device = std::move(device), addresses = std::move(addresses), groups = std::move(groups)] {
        device->HotReset(addresses, groups);
        return Nothing{};
      },
      FromNothing);
}

// vfioEnterLowPower(device, async)
Napi::Value VfioEnterLowPower(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  return Run(
      info.Env(), info[1],
      [device, revoking = device->BeginRevoking()] {
        device->EnterLowPower(*revoking);
        return Nothing{};
      },
      FromNothing);
}

// vfioEnterLowPowerWithWakeUp(device, eventfd, async)
Napi::Value VfioEnterLowPowerWithWakeUp(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  return Run(
      info.Env(), info[2],
      [device, wake_up = Unwrap<core::Fd>(info[1]), revoking = device->BeginRevoking()] {
        device->EnterLowPowerWithWakeUp(*revoking, *wake_up);
        return Nothing{};
      },
      FromNothing);
}

// vfioExitLowPower(device, async)
Napi::Value VfioExitLowPower(const Napi::CallbackInfo& info) {
  return Run(
      info.Env(), info[1],
      [device = Unwrap<core::VfioDevice>(info[0])] {
        device->ExitLowPower();
        return Nothing{};
      },
      FromNothing);
}

}  // namespace

void InitVfioReset(Napi::Env env, Napi::Object exports) {
  Export<VfioReset>(env, exports, "vfioReset");
  Export<VfioHotResetInfo>(env, exports, "vfioHotResetInfo");
  Export<VfioHotReset>(env, exports, "vfioHotReset");
  Export<VfioEnterLowPower>(env, exports, "vfioEnterLowPower");
  Export<VfioEnterLowPowerWithWakeUp>(env, exports, "vfioEnterLowPowerWithWakeUp");
  Export<VfioExitLowPower>(env, exports, "vfioExitLowPower");
}

}  // namespace binding
