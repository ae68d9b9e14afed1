// What this library must know of a device's config space: whether memory is decoded, and which writes revoke.
#include <cerrno>

#include "core/vfio.h"

namespace core {
namespace {

// PCI 3.0, chapter 6; PCI power management interface 1.2, chapter 3.2; PCI Express base 5.0, chapter 7.5.3; the
// advanced features capability's engineering change notice.
constexpr uint64_t kCommandRegister = 0x04;
constexpr uint16_t kCommandMemory = 1U << 1;
constexpr uint64_t kCapabilityList = 0x34;
constexpr unsigned kMostCapabilities = 48;
constexpr uint8_t kPowerManagement = 0x01;
constexpr uint8_t kPowerControl = 4;  // offsets from the capability's start
constexpr uint8_t kPowerStateMask = 3;
constexpr uint8_t kPowerStateD3 = 3;
constexpr uint8_t kExpress = 0x10;
constexpr uint8_t kDeviceCapabilities = 4;
constexpr uint32_t kFunctionLevelReset = 1U << 28;
constexpr uint8_t kDeviceControlHigh = 9;
constexpr uint8_t kInitiateReset = 1U << 7;
constexpr uint8_t kAdvancedFeatures = 0x13;
constexpr uint8_t kAdvancedCapabilities = 3;
constexpr uint8_t kTransactionsPendingAndReset = 3;
constexpr uint8_t kAdvancedControl = 5;
constexpr uint8_t kAdvancedInitiateReset = 1;

}  // namespace

// vfio-pci places each region by its index; other drivers place it elsewhere.
std::optional<DeviceState::Part> VfioDevice::FindConfig() const {
  if (!state_->config) {
    uapi::vfio_region_info info = {.argsz = sizeof(info), .index = uapi::VFIO_PCI_CONFIG_REGION_INDEX};
    const int result = fd_->Ask(VFIO_DMABUF_REQUEST(VFIO_DEVICE_GET_REGION_INFO), &info);
    if (result == -EINVAL || result == -ENOTTY) return std::nullopt;  // not bound, or no VFIO device
    Check(result, "ioctl", "VFIO_DEVICE_GET_REGION_INFO");
    state_->config = {info.offset, info.size};
  }
  return state_->config;
}

std::optional<DeviceState::Part> VfioDevice::ConfigSpace() const {
  const kernel::Lock lock(state_->config_mutex);
  return FindConfig();
}

// nullopt: the device is not bound.
template <typename T>
std::optional<T> VfioDevice::ReadConfig(uint64_t offset) const {
  const auto config = FindConfig();
  if (!config) return std::nullopt;
  T value = 0;
  const int64_t read = fd_->kernel()->Pread(fd_->number(), &value, sizeof(value), config->offset + offset);
  if (read == -EINVAL) return std::nullopt;
  Check(read, "pread");
  return value;
}

std::size_t VfioDevice::WriteConfig(const DeviceState::Part& config, uint64_t offset, const void* buffer,
                                    std::size_t size) {
  const auto write = [&] {
    return static_cast<std::size_t>(
        Check(fd_->kernel()->Pwrite(fd_->number(), buffer, size, config.offset + offset), "pwrite"));
  };
  if (!WriteRevokes(offset, static_cast<const uint8_t*>(buffer), size)) {
    const std::size_t written = write();
    const kernel::Lock lock(state_->config_mutex);
    LookAtMemory();
    return written;
  }
  std::size_t written = 0;
  Revoking revoking(state());
  state_->WaitForFences();
  Disturb([&] {
    written = write();
    revoking.End(true);
  });
  return written;
}

// vfio_basic_config_write(), vfio_pm_config_write(), vfio_exp_config_write(), vfio_af_config_write()
bool VfioDevice::WriteRevokes(uint64_t offset, const uint8_t* bytes, std::size_t size) const {
  const auto written = [&](uint64_t at) -> std::optional<uint8_t> {
    return at >= offset && at - offset < size ? std::optional(bytes[at - offset]) : std::nullopt;
  };
  const kernel::Lock lock(state_->config_mutex);
  FindCapabilities();
  const auto command = written(kCommandRegister);
  if (command && (*command & kCommandMemory) == 0) return true;
  if (const uint8_t at = state_->power_management.value_or(0); at != 0) {
    const auto power = written(at + kPowerControl);
    if (power && (*power & kPowerStateMask) == kPowerStateD3) return true;
  }
  if (const uint8_t at = state_->express.value_or(0); at != 0) {
    const auto control = written(at + kDeviceControlHigh);
    if (control && (*control & kInitiateReset) != 0) {
      return (ReadConfig<uint32_t>(at + kDeviceCapabilities).value_or(0) & kFunctionLevelReset) != 0;
    }
  }
  if (const uint8_t at = state_->advanced_features.value_or(0); at != 0) {
    const auto control = written(at + kAdvancedControl);
    if (control && (*control & kAdvancedInitiateReset) != 0) {
      const uint8_t can = ReadConfig<uint8_t>(at + kAdvancedCapabilities).value_or(0);
      return (can & kTransactionsPendingAndReset) == kTransactionsPendingAndReset;
    }
  }
  return false;
}

void VfioDevice::FindCapabilities() const {
  if (state_->power_management) return;
  auto at = ReadConfig<uint8_t>(kCapabilityList);
  if (!at) return;  // not bound yet
  std::optional<uint8_t> power_management = 0;
  std::optional<uint8_t> express = 0;
  std::optional<uint8_t> advanced_features = 0;
  for (unsigned i = 0; i < kMostCapabilities && at.value_or(0) != 0; ++i) {
    const uint16_t header = ReadConfig<uint16_t>(*at).value_or(0);
    switch (header & 0xff) {
      case kPowerManagement:
        power_management = at;
        break;
      case kExpress:
        express = at;
        break;
      case kAdvancedFeatures:
        advanced_features = at;
        break;
      default:
        break;
    }
    at = static_cast<uint8_t>(header >> 8);
  }
  state_->power_management = power_management;
  state_->express = express;
  state_->advanced_features = advanced_features;
}

// __vfio_pci_memory_enabled(), and pm_runtime_engaged
void VfioDevice::LookAtMemory() const {
  state_->memory_enabled = false;
  if (state_->low_power) return;  // reading config space would wake it
  FindCapabilities();
  const bool decodes = (ReadConfig<uint16_t>(kCommandRegister).value_or(0) & kCommandMemory) != 0;
  const uint8_t power = state_->power_management.value_or(0);
  const uint8_t state = decodes && power != 0 ? ReadConfig<uint8_t>(power + kPowerControl).value_or(0) : 0;
  state_->memory_enabled = decodes && (state & kPowerStateMask) != kPowerStateD3;
}

}  // namespace core
