#include "core/vfio.h"

#include <fcntl.h>

#include <cerrno>
#include <cstring>
#include <map>

namespace core {
namespace {

constexpr uint64_t kConfigOffset = uint64_t{uapi::VFIO_PCI_CONFIG_REGION_INDEX} << 40;
// PCI 3.0, chapter 6, and the PCI power management interface 1.2, chapter 3.2.
constexpr uint64_t kCommandRegister = 0x04;
constexpr uint16_t kCommandMemory = 1U << 1;
constexpr uint64_t kCapabilityList = 0x34;
constexpr unsigned kMostCapabilities = 48;
constexpr uint8_t kPowerManagement = 0x01;
constexpr uint8_t kPowerControl = 4;  // from the capability's start
constexpr uint16_t kPowerStateMask = 3;
constexpr uint16_t kPowerStateD3 = 3;

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

// By the identity of the device's file, which duplicates share.
std::shared_ptr<DeviceState> StateOf(const Fd& fd) {
  static std::mutex mutex;
  static std::map<std::pair<uint64_t, uint64_t>, std::weak_ptr<DeviceState>> states;
  const auto [device, inode] = fd.Identify();
  const std::lock_guard lock(mutex);
  std::erase_if(states, [](const auto& entry) { return entry.second.expired(); });
  auto& known = states[{device, inode}];
  auto state = known.lock();
  if (!state) known = state = std::make_shared<DeviceState>();
  return state;
}

}  // namespace

VfioDevice::VfioDevice(std::shared_ptr<Fd> fd) : fd_(std::move(fd)), state_(StateOf(*fd_)) { RefreshMemoryEnabled(); }

template <typename Call>
auto VfioDevice::WithMemoryDisabled(const Call& call) {
  const std::lock_guard lock(state_->config_mutex);
  state_->memory_enabled.store(false, std::memory_order_seq_cst);
  try {
    const auto result = call();
    RefreshMemoryEnabled();
    return result;
  } catch (const Failure&) {
    RefreshMemoryEnabled();
    throw;
  }
}

uint32_t VfioDevice::Bind(std::shared_ptr<Fd> iommufd) {
  uapi::vfio_device_bind_iommufd command = {.argsz = sizeof(command), .iommufd = iommufd->number()};
  fd_->Ioctl(VFIO_DMABUF_REQUEST(VFIO_DEVICE_BIND_IOMMUFD), &command);
  iommufd_ = std::move(iommufd);
  RefreshMemoryEnabled();
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

void VfioDevice::Reset() {
  WithMemoryDisabled([&] { return fd_->Ioctl(VFIO_DMABUF_REQUEST(VFIO_DEVICE_RESET), nullptr); });
}

bool VfioDevice::Probe(uint32_t feature, uint32_t operation) const {
  uapi::vfio_device_feature command = {.argsz = sizeof(command),
                                       .flags = feature | operation | uapi::VFIO_DEVICE_FEATURE_PROBE};
  const int result = fd_->kernel()->Ioctl(fd_->number(), uapi::VFIO_DEVICE_FEATURE, &command);
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
  return std::make_shared<Fd>(fd_->kernel(), number);
}

std::size_t VfioDevice::Read(uint64_t offset, void* buffer, std::size_t size) const {
  return static_cast<std::size_t>(Check(fd_->kernel()->Pread(fd_->number(), buffer, size, offset), "pread"));
}

std::size_t VfioDevice::Write(uint64_t offset, const void* buffer, std::size_t size) {
  const auto write = [&] { return Check(fd_->kernel()->Pwrite(fd_->number(), buffer, size, offset), "pwrite"); };
  // Some of config space switches memory off: the command register, the power state, a reset.
  const bool is_config = offset >> 40 == uapi::VFIO_PCI_CONFIG_REGION_INDEX;
  if (!is_config) return static_cast<std::size_t>(write());
  return static_cast<std::size_t>(WithMemoryDisabled(write));
}

template <typename T>
std::optional<T> VfioDevice::ReadConfig(uint64_t offset) const {
  T value = 0;
  const int64_t read = fd_->kernel()->Pread(fd_->number(), &value, sizeof(value), kConfigOffset + offset);
  return read == sizeof(value) ? std::optional(value) : std::nullopt;
}

std::optional<uint8_t> VfioDevice::FindPowerManagement() const {
  auto at = ReadConfig<uint8_t>(kCapabilityList);
  for (unsigned i = 0; i < kMostCapabilities && at.value_or(0) != 0; ++i) {
    const auto header = ReadConfig<uint16_t>(*at);
    if (!header || (*header & 0xff) == kPowerManagement) return header ? at : std::nullopt;
    at = static_cast<uint8_t>(*header >> 8);
  }
  return std::nullopt;
}

// __vfio_pci_memory_enabled()
void VfioDevice::RefreshMemoryEnabled() const {
  const bool decodes = (ReadConfig<uint16_t>(kCommandRegister).value_or(0) & kCommandMemory) != 0;
  const auto power = decodes ? FindPowerManagement() : std::nullopt;
  const uint16_t state = power ? ReadConfig<uint16_t>(*power + kPowerControl).value_or(0) : 0;
  state_->memory_enabled.store(decodes && (state & kPowerStateMask) != kPowerStateD3, std::memory_order_seq_cst);
}

std::shared_ptr<Mapping> VfioDevice::Map(uint64_t offset, std::size_t length, int protection) const {
  // An fd that was handed over may have been bound after this object was made.
  RefreshMemoryEnabled();
  const std::shared_ptr<const std::atomic<bool>> enabled(state_, &state_->memory_enabled);
  return std::make_shared<Mapping>(fd_, offset, length, protection, enabled);
}

}  // namespace core
