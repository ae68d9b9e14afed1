// The calls that revoke a device's memory for some time: reset, hot reset, low power.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/vfio.h"

namespace core {

// vfio_pci_ioctl_reset(): EINVAL comes before the revocation, everything else after it.
void VfioDevice::Reset(Revoking& revoking) {
  state_->WaitForFences();
  Disturb([&] {
    const int result = fd_->Ask(VFIO_DMABUF_REQUEST(VFIO_DEVICE_RESET), nullptr);
    revoking.End(result != -EINVAL);
    Check(result, "ioctl", "VFIO_DEVICE_RESET");
  });
}

VfioDevice::HotResetInfo VfioDevice::GetHotResetInfo() const {
  std::vector<uapi::vfio_pci_dependent_device> devices(1);
  for (;;) {
    uapi::vfio_pci_hot_reset_info header = {};
    const std::size_t devices_size = devices.size() * sizeof(devices[0]);
    std::vector<uint8_t> bytes(sizeof(header) + devices_size);
    header.argsz = static_cast<uint32_t>(bytes.size());
    std::memcpy(bytes.data(), &header, sizeof(header));
    try {
      fd_->Ioctl(VFIO_DMABUF_REQUEST(VFIO_DEVICE_GET_PCI_HOT_RESET_INFO), bytes.data());
      std::memcpy(&header, bytes.data(), sizeof(header));
    } catch (const Failure& failure) {
      // The kernel returned the needed count. It may grow until the next call.
      std::memcpy(&header, bytes.data(), sizeof(header));
      if (failure.error != ENOSPC || header.count <= devices.size()) throw;
      devices.resize(header.count);
      continue;
    }
    devices.resize(header.count);
    std::memcpy(devices.data(), bytes.data() + sizeof(header), header.count * sizeof(devices[0]));
    return {header.flags, std::move(devices)};
  }
}

// vfio_pci_dev_set_hot_reset() revokes device by device before it knows whether the reset is possible: after any result
// but ENODEV, which it returns before, mappings may be dead.
void VfioDevice::HotReset(const std::vector<std::string>& addresses, const std::vector<std::shared_ptr<Fd>>& groups) {
  auto affected = DeviceState::At(state_->kernel, addresses);
  if (std::ranges::find(affected, state()) == affected.end()) affected.push_back(state());
  std::vector<std::unique_ptr<Revoking>> revoking;
  revoking.reserve(affected.size());
  for (const auto& state : affected) revoking.push_back(std::make_unique<Revoking>(state));
  for (const auto& state : affected) state->WaitForFences();
  Disturb([&] {
    const auto count = static_cast<uint32_t>(groups.size());
    std::vector<int32_t> numbers;
    numbers.reserve(groups.size());
    for (const auto& group : groups) numbers.push_back(group->number());
    std::vector<uint8_t> bytes(sizeof(uapi::vfio_pci_hot_reset) + count * sizeof(numbers[0]));
    const uapi::vfio_pci_hot_reset command = {.argsz = static_cast<uint32_t>(bytes.size()), .count = count};
    std::memcpy(bytes.data(), &command, sizeof(command));
    if (count > 0) std::memcpy(bytes.data() + sizeof(command), numbers.data(), count * sizeof(numbers[0]));
    const int result = fd_->Ask(VFIO_DMABUF_REQUEST(VFIO_DEVICE_PCI_HOT_RESET), bytes.data());
    for (const auto& each : revoking) each->End(result != -ENODEV);
    Check(result, "ioctl", "VFIO_DEVICE_PCI_HOT_RESET");
  });
}

// vfio_pci_runtime_pm_entry(): on a device that is in low power already it revokes, then fails with EINVAL.
template <typename Call>
void VfioDevice::LeaveForLowPower(Revoking& revoking, const Call& call) {
  state_->WaitForFences();
  Disturb([&]() REQUIRES(state_->config_mutex) {
    try {
      call();
    } catch (const Failure& failure) {
      revoking.End(failure.error == EINVAL && state_->low_power);
      throw;
    }
    state_->low_power = true;
    revoking.End(true);
  });
}

void VfioDevice::EnterLowPower(Revoking& revoking) {
  LeaveForLowPower(revoking, [&] { Feature(VFIO_DMABUF_FEATURE(SET, LOW_POWER_ENTRY)); });
}

void VfioDevice::EnterLowPowerWithWakeUp(Revoking& revoking, const Fd& wake_up) {
  LeaveForLowPower(revoking, [&] {
    Feature(VFIO_DMABUF_FEATURE(SET, LOW_POWER_ENTRY_WITH_WAKEUP),
            uapi::vfio_device_low_power_entry_with_wakeup{.wakeup_eventfd = wake_up.number()});
  });
}

void VfioDevice::ExitLowPower() {
  Disturb([&]() REQUIRES(state_->config_mutex) {
    Feature(VFIO_DMABUF_FEATURE(SET, LOW_POWER_EXIT));
    state_->low_power = false;
  });
}

}  // namespace core
