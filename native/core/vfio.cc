#include "core/vfio.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace core {
namespace {

constexpr uint64_t kConfigOffset = uint64_t{uapi::VFIO_PCI_CONFIG_REGION_INDEX} << 40;
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

// Asks twice when there are capabilities: the first answer's argsz says how much room they need.
template <typename Info>
InfoWithCapabilities<Info> QueryInfo(const Fd& fd, uapi::request_t request, const char* name, Info info) {
  std::vector<uint8_t> bytes(sizeof(Info));
  for (;;) {
    info.argsz = static_cast<uint32_t>(bytes.size());
    std::memcpy(bytes.data(), &info, sizeof(Info));
    fd.Ioctl(request, name, bytes.data());
    Info answer;
    std::memcpy(&answer, bytes.data(), sizeof(Info));
    if (answer.argsz <= bytes.size()) return {std::move(bytes), answer};
    bytes.assign(answer.argsz, 0);
  }
}

}  // namespace

VfioDevice::VfioDevice(std::shared_ptr<Fd> fd, const std::string& address)
    : file_(std::make_shared<DeviceFile>(std::move(fd), address)), fd_(&file_->fd()), state_(file_->state().get()) {
  const kernel::Lock lock(state_->config_mutex);
  LookAtMemory();
}

template <typename Call>
void VfioDevice::Disturb(const Call& call) {
  const kernel::Lock lock(state_->config_mutex);
  state_->memory_enabled = false;
  try {
    call();
  } catch (const Failure&) {
    LookAtMemory();
    throw;
  }
  LookAtMemory();
}

uint32_t VfioDevice::Bind(std::shared_ptr<Fd> iommufd) {
  uapi::vfio_device_bind_iommufd command = {.argsz = sizeof(command), .iommufd = iommufd->number()};
  fd_->Ioctl(VFIO_DMABUF_REQUEST(VFIO_DEVICE_BIND_IOMMUFD), &command);
  iommufd_ = std::move(iommufd);
  const kernel::Lock lock(state_->config_mutex);
  state_->low_power = false;
  LookAtMemory();
  return command.out_devid;
}

uint32_t VfioDevice::Attach(uint32_t page_table) const {
  uapi::vfio_device_attach_iommufd_pt command = {.argsz = sizeof(command), .pt_id = page_table};
  fd_->Ioctl(VFIO_DMABUF_REQUEST(VFIO_DEVICE_ATTACH_IOMMUFD_PT), &command);
  return command.pt_id;
}

void VfioDevice::Detach() const {
  uapi::vfio_device_detach_iommufd_pt command = {.argsz = sizeof(command)};
  fd_->Ioctl(VFIO_DMABUF_REQUEST(VFIO_DEVICE_DETACH_IOMMUFD_PT), &command);
}

InfoWithCapabilities<uapi::vfio_device_info> VfioDevice::GetInfo() const {
  return QueryInfo<uapi::vfio_device_info>(*fd_, VFIO_DMABUF_REQUEST(VFIO_DEVICE_GET_INFO), {});
}

InfoWithCapabilities<uapi::vfio_region_info> VfioDevice::GetRegionInfo(uint32_t index) const {
  return QueryInfo<uapi::vfio_region_info>(*fd_, VFIO_DMABUF_REQUEST(VFIO_DEVICE_GET_REGION_INFO), {.index = index});
}

uapi::vfio_irq_info VfioDevice::GetIrqInfo(uint32_t index) const {
  uapi::vfio_irq_info info = {.argsz = sizeof(info), .index = index};
  fd_->Ioctl(VFIO_DMABUF_REQUEST(VFIO_DEVICE_GET_IRQ_INFO), &info);
  return info;
}

// vfio_pci_ioctl_reset(): EINVAL comes before the revocation, everything else after it.
void VfioDevice::Reset(Revoking& revoking) {
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
      // The count that is wanted came back; it may have grown again by the next call.
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

// vfio_pci_dev_set_hot_reset() revokes device by device, before it knows whether all can be had: whatever it answers,
// mappings may be dead. That no reset is possible at all (ENODEV) it says before.
void VfioDevice::HotReset(const std::vector<std::string>& addresses) {
  auto affected = DeviceState::At(state_->kernel, addresses);
  if (std::ranges::find(affected, state()) == affected.end()) affected.push_back(state());
  std::vector<std::unique_ptr<Revoking>> revoking;
  for (const auto& state : affected) revoking.push_back(std::make_unique<Revoking>(state));
  Disturb([&] {
    uapi::vfio_pci_hot_reset command = {.argsz = sizeof(command)};
    const int result = fd_->Ask(VFIO_DMABUF_REQUEST(VFIO_DEVICE_PCI_HOT_RESET), &command);
    for (const auto& each : revoking) each->End(result != -ENODEV);
    Check(result, "ioctl", "VFIO_DEVICE_PCI_HOT_RESET");
  });
}

void VfioDevice::SetFeature(uint32_t feature, const char* name) {
  uapi::vfio_device_feature command = {.argsz = sizeof(command), .flags = feature | uapi::VFIO_DEVICE_FEATURE_SET};
  fd_->Ioctl(uapi::VFIO_DEVICE_FEATURE, name, &command);
}

// vfio_pci_runtime_pm_entry(): a device that is in low power already is revoked first and refused (EINVAL) then.
void VfioDevice::EnterLowPower(Revoking& revoking) {
  Disturb([&]() REQUIRES(state_->config_mutex) {
    try {
      SetFeature(uapi::VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY, "VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY");
    } catch (const Failure& failure) {
      revoking.End(failure.error == EINVAL && state_->low_power);
      throw;
    }
    state_->low_power = true;
    revoking.End(true);
  });
}

void VfioDevice::ExitLowPower() {
  Disturb([&]() REQUIRES(state_->config_mutex) {
    SetFeature(uapi::VFIO_DEVICE_FEATURE_LOW_POWER_EXIT, "VFIO_DEVICE_FEATURE_LOW_POWER_EXIT");
    state_->low_power = false;
  });
}

bool VfioDevice::Probe(uint32_t feature, uint32_t operation) const {
  uapi::vfio_device_feature command = {.argsz = sizeof(command),
                                       .flags = feature | operation | uapi::VFIO_DEVICE_FEATURE_PROBE};
  const int result = fd_->Ask(VFIO_DMABUF_REQUEST(VFIO_DEVICE_FEATURE), &command);
  // ENOTTY: never heard of it. EINVAL: known, but not for this operation. EOPNOTSUPP: the driver leaves it out.
  if (result == -ENOTTY || result == -EINVAL || result == -EOPNOTSUPP) return false;
  Check(result, "ioctl", "VFIO_DEVICE_FEATURE");
  return true;
}

std::shared_ptr<Fd> VfioDevice::ExportDmaBuf(uint32_t region,
                                             const std::vector<uapi::vfio_region_dma_range>& ranges) const {
  const uapi::vfio_device_feature_dma_buf payload = {
      .region_index = region, .open_flags = O_RDWR | O_CLOEXEC, .nr_ranges = static_cast<uint32_t>(ranges.size())};
  const std::size_t ranges_size = ranges.size() * sizeof(ranges[0]);
  std::vector<uint8_t> bytes(sizeof(uapi::vfio_device_feature) + sizeof(payload) + ranges_size);
  const uapi::vfio_device_feature header = {
      .argsz = static_cast<uint32_t>(bytes.size()),
      .flags = uapi::VFIO_DEVICE_FEATURE_GET | uapi::VFIO_DEVICE_FEATURE_DMA_BUF,
  };
  std::memcpy(bytes.data(), &header, sizeof(header));
  std::memcpy(bytes.data() + sizeof(header), &payload, sizeof(payload));
  if (ranges_size > 0) std::memcpy(bytes.data() + sizeof(header) + sizeof(payload), ranges.data(), ranges_size);
  const int number = fd_->Ioctl(uapi::VFIO_DEVICE_FEATURE, "VFIO_DEVICE_FEATURE_DMA_BUF", bytes.data());
  struct Exported {
    Exported(std::shared_ptr<kernel::Kernel> kernel, int number) : fd(std::move(kernel), number) {}
    Fd fd;
    std::shared_ptr<Export> registration;  // lasts as long as the fd, and longer with mappings
  };
  auto exported = std::make_shared<Exported>(fd_->kernel(), number);
  exported->registration = Export::Register(exported->fd, state(), static_cast<uint32_t>(ranges.size()));
  return {exported, &exported->fd};
}

std::size_t VfioDevice::Read(uint64_t offset, void* buffer, std::size_t size) const {
  return static_cast<std::size_t>(Check(fd_->kernel()->Pread(fd_->number(), buffer, size, offset), "pread"));
}

std::size_t VfioDevice::Write(uint64_t offset, const void* buffer, std::size_t size) {
  if (offset >> 40 == uapi::VFIO_PCI_CONFIG_REGION_INDEX) return WriteConfig(offset - kConfigOffset, buffer, size);
  return static_cast<std::size_t>(Check(fd_->kernel()->Pwrite(fd_->number(), buffer, size, offset), "pwrite"));
}

std::size_t VfioDevice::WriteConfig(uint64_t offset, const void* buffer, std::size_t size) {
  const auto write = [&] {
    return static_cast<std::size_t>(
        Check(fd_->kernel()->Pwrite(fd_->number(), buffer, size, kConfigOffset + offset), "pwrite"));
  };
  if (!WriteRevokes(offset, static_cast<const uint8_t*>(buffer), size)) {
    const std::size_t written = write();
    const kernel::Lock lock(state_->config_mutex);
    LookAtMemory();
    return written;
  }
  std::size_t written = 0;
  Revoking revoking(state());
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

// nullopt: the device is not bound.
template <typename T>
std::optional<T> VfioDevice::ReadConfig(uint64_t offset) const {
  T value = 0;
  const int64_t read = fd_->kernel()->Pread(fd_->number(), &value, sizeof(value), kConfigOffset + offset);
  if (read == -EINVAL) return std::nullopt;
  Check(read, "pread");
  return value;
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

std::shared_ptr<Mapping> VfioDevice::Map(uint64_t offset, std::size_t length, int protection) const {
  // An fd that was handed over may have been bound after this object was made.
  {
    const kernel::Lock lock(state_->config_mutex);
    LookAtMemory();
  }
  const std::shared_ptr<const std::atomic<bool>> enabled(state(), &state_->memory_enabled);
  const std::shared_ptr<Fd> fd(file_, file_->shared_fd().get());
  return std::make_shared<Mapping>(fd, offset, length, protection, enabled);
}

}  // namespace core
