// Reads, writes and resets of config space.
#include "fake/pci/config_space.h"

#include <cerrno>
#include <cstring>
#include <utility>

namespace fake {
namespace {

constexpr std::size_t kCommandRegister = 0x04;
constexpr uint16_t kCommandMemory = 1U << 1;
constexpr uint16_t kCommandBusMaster = 1U << 2;
constexpr std::size_t kCapabilityList = 0x34;
constexpr uint8_t kPowerManagement = 0x01;
constexpr std::size_t kPowerControl = 4;
constexpr uint8_t kMsiCapability = 0x05;
constexpr uint8_t kMsixCapability = 0x11;
constexpr uint8_t kExpress = 0x10;
constexpr std::size_t kDeviceCapabilitiesHigh = 7;
constexpr uint8_t kFunctionLevelReset = 1U << 4;
constexpr std::size_t kDeviceControlHigh = 9;
constexpr uint8_t kInitiateReset = 1U << 7;
constexpr uint8_t kPowerStateMask = 3;
constexpr uint8_t kPowerStateD1 = 1;
constexpr uint8_t kPowerStateD2 = 2;
constexpr uint8_t kPowerStateD3 = 3;
constexpr std::size_t kPowerCapabilitiesHigh = 3;
constexpr uint8_t kHasD1 = 1U << 1;
constexpr uint8_t kHasD2 = 1U << 2;

}  // namespace

ConfigSpace::ConfigSpace(std::vector<uint8_t> at_open, std::vector<uint8_t> writable)
    : at_open_(std::move(at_open)), writable_(std::move(writable)), bytes_(at_open_) {
  for (std::size_t at = bytes_.at(kCapabilityList); at != 0; at = bytes_.at(at + 1)) {
    if (bytes_.at(at) == kPowerManagement) power_control_ = at + kPowerControl;
    if (bytes_.at(at) == kExpress) express_ = at;
    if (bytes_.at(at) == kMsiCapability) msi_ = at;
    if (bytes_.at(at) == kMsixCapability) msix_ = at;
  }
}

uint16_t ConfigSpace::Command() const {
  return static_cast<uint16_t>(bytes_[kCommandRegister] | bytes_[kCommandRegister + 1] << 8);
}

bool ConfigSpace::MemoryEnabled() const {
  const bool asleep = power_control_ != 0 && (bytes_[power_control_] & kPowerStateMask) == kPowerStateD3;
  return (Command() & kCommandMemory) != 0 && !asleep;
}

bool ConfigSpace::BusMaster() const { return (Command() & kCommandBusMaster) != 0; }

bool ConfigSpace::CanResetFunction() const {
  return express_ != 0 && (bytes_[express_ + kDeviceCapabilitiesHigh] & kFunctionLevelReset) != 0;
}

int64_t ConfigSpace::Read(uint64_t offset, void* buffer, std::size_t size) const {
  if (offset >= bytes_.size() || size > bytes_.size() - offset) return -EFAULT;
  std::memcpy(buffer, bytes_.data() + offset, size);
  return static_cast<int64_t>(size);
}

int64_t ConfigSpace::Write(uint64_t offset, const void* buffer, std::size_t size, bool* resets) {
  if (offset >= bytes_.size() || size > bytes_.size() - offset) return -EFAULT;
  const auto* bytes = static_cast<const uint8_t*>(buffer);
  for (std::size_t i = 0; i < size; ++i) {
    const std::size_t at = offset + i;
    const uint8_t mask = at == power_control_ && !HasPowerState(bytes[i] & kPowerStateMask) ? 0 : writable_[at];
    bytes_[at] = static_cast<uint8_t>((bytes_[at] & ~mask) | (bytes[i] & mask));
  }
  const std::size_t control = express_ + kDeviceControlHigh;
  *resets = CanResetFunction() && offset <= control && control - offset < size &&
            (bytes[control - offset] & kInitiateReset) != 0;
  return static_cast<int64_t>(size);
}

// A device without D1 or D2 ignores a write of that state.
bool ConfigSpace::HasPowerState(uint8_t state) const {
  if (power_control_ == 0) return false;
  const uint8_t capabilities = bytes_[power_control_ - kPowerControl + kPowerCapabilitiesHigh];
  if (state == kPowerStateD1) return (capabilities & kHasD1) != 0;
  return state != kPowerStateD2 || (capabilities & kHasD2) != 0;
}

void ConfigSpace::WakeUp() {
  if (power_control_ != 0) bytes_[power_control_] &= static_cast<uint8_t>(~kPowerStateMask);
}

bool ConfigSpace::IsPower(uint64_t offset, std::size_t size) const {
  const auto touches = [&](std::size_t at) { return offset < at + 2 && at < offset + size; };
  return touches(kCommandRegister) || (power_control_ != 0 && touches(power_control_));
}

}  // namespace fake
