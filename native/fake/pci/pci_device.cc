// The ioctls, regions, DMA and dma-buf exports of a PCI device.
#include "fake/pci/pci_device.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <stdexcept>

#include "fake/files/user_memory.h"
#include "fake/pci/make_model.h"
#include "fake/vfio/vfio_features.h"
#include "kernel/page_size.h"

namespace fake {
namespace {

const uint64_t kPageSize = kernel::PageSize();
constexpr std::size_t kMostCopied = std::size_t{4} << 20;  // by memdup_user(): KMALLOC_MAX_SIZE

using Kind = BarDescription::Kind;

}  // namespace

PciDevice::PciDevice(DeviceDescription description, FileTable& table, kernel::Mutex& lock, ReportFault report)
    : CdevDevice(description.cdev, table, lock),
      description_(std::move(description)),
      report_(std::move(report)),
      interrupts_(description_.irqs, table),
      model_(MakeModel(description_.model, description_.address, *this, *this)),
      config_(description_.config, description_.config_writable) {
  if (!model_) throw std::invalid_argument("no such device model: " + description_.model);
  for (unsigned bar = 0; bar < kBars; ++bar) {
    const auto& [kind, size] = description_.bars.at(bar);
    if (kind == Kind::kMemory) memory_.at(bar) = std::make_shared<BarMemory>(size);
  }
  [[maybe_unused]] const int random = getentropy(vf_token_.data(), vf_token_.size());
}

bool PciDevice::SetRevoked(bool revoked) {
  std::erase_if(exports_, [](const auto& buffer) { return buffer.expired(); });
  bool busy = false;
  for (const auto& weak : exports_) {
    const auto buffer = weak.lock();
    if (!buffer) continue;
    buffer->SetRevoked(revoked);
    busy = busy || buffer->busy();
  }
  return !busy;
}

// vfio_df_ioctl_bind_iommufd()
int PciDevice::Bind(const uapi::vfio_device_bind_iommufd& command, uint32_t* device_id) {
  if (command.argsz < offsetof(uapi::vfio_device_bind_iommufd, token_uuid_ptr) || command.iommufd < 0 ||
      (command.flags & ~uapi::VFIO_DEVICE_BIND_FLAG_TOKEN) != 0) {
    return -EINVAL;
  }
  if (const int refused = CheckToken(command); refused != 0) return refused;
  std::shared_ptr<Iommufd> iommufd;
  if (const int found = FindIommufd(command.iommufd, &iommufd); found != 0) return found;
  if (iommufd_) return -EINVAL;
  for (const auto& weak : bus_) {
    const auto other = weak.lock();
    if (!other) continue;
    other->IsLockedWith(*this);
    if (other->iommufd_ && other->iommufd_ != iommufd && other->description_.group == description_.group) return -EPERM;
  }
  iommufd_ = std::move(iommufd);
  device_id_ = iommufd_->AddDevice(description_.group);
  *device_id = device_id_;
  Enable();
  return 0;
}

// vfio_pci_core_close_device(): the exports are revoked for good; the device is detached and reset.
void PciDevice::Unbind() {
  Disable();
  iommufd_->Detach(device_id_);
  iommufd_->RemoveDevice(device_id_);
  iommufd_.reset();
}

// vfio_pci_core_enable()
void PciDevice::Enable() {
  config_.Restore();
  CountVfUser(+1);
}

void PciDevice::Disable() {
  SetRevoked(true);
  exports_.clear();
  interrupts_.Release();
  ioeventfds_.clear();
  config_.Restore();
  model_->Reset();
  low_power_ = false;
  wake_up_.reset();
  CountVfUser(-1);
}

int PciDevice::Ioctl(uapi::request_t request, void* argument) {
  WakeUp();
  switch (request) {
    case uapi::VFIO_DEVICE_GET_INFO:
      return GetInfo(*static_cast<uapi::vfio_device_info*>(argument));
    case uapi::VFIO_DEVICE_GET_REGION_INFO:
      return GetRegionInfo(*static_cast<uapi::vfio_region_info*>(argument));
    case uapi::VFIO_DEVICE_GET_IRQ_INFO:
      return GetIrqInfo(*static_cast<uapi::vfio_irq_info*>(argument));
    case uapi::VFIO_DEVICE_SET_IRQS:
      return interrupts_.Set(*static_cast<uapi::vfio_irq_set*>(argument));
    case uapi::VFIO_DEVICE_IOEVENTFD:
      return SetIoeventfd(*static_cast<uapi::vfio_device_ioeventfd*>(argument));
    case uapi::VFIO_DEVICE_RESET:
      return Reset();
    case uapi::VFIO_DEVICE_GET_PCI_HOT_RESET_INFO:
      return GetHotResetInfo(*static_cast<uapi::vfio_pci_hot_reset_info*>(argument));
    case uapi::VFIO_DEVICE_PCI_HOT_RESET:
      return HotReset(*static_cast<uapi::vfio_pci_hot_reset*>(argument));
    case uapi::VFIO_DEVICE_FEATURE:
      return Feature(*static_cast<uapi::vfio_device_feature*>(argument));
    case uapi::VFIO_DEVICE_ATTACH_IOMMUFD_PT: {
      auto& command = *static_cast<uapi::vfio_device_attach_iommufd_pt*>(argument);
      const bool pasid = command.flags == uapi::VFIO_DEVICE_ATTACH_PASID;
      const std::size_t size = pasid ? sizeof(command) : offsetof(uapi::vfio_device_attach_iommufd_pt, pasid);
      if (command.argsz < size || (command.flags != 0 && !pasid)) return -EINVAL;
      const int hwpt = iommufd_->Attach(device_id_, command.pt_id, pasid ? command.pasid : 0);
      if (hwpt < 0) return hwpt;
      command.pt_id = static_cast<uint32_t>(hwpt);
      return 0;
    }
    case uapi::VFIO_DEVICE_DETACH_IOMMUFD_PT: {
      const auto& command = *static_cast<uapi::vfio_device_detach_iommufd_pt*>(argument);
      const bool pasid = command.flags == uapi::VFIO_DEVICE_DETACH_PASID;
      const std::size_t size = pasid ? sizeof(command) : offsetof(uapi::vfio_device_detach_iommufd_pt, pasid);
      if (command.argsz < size || (command.flags != 0 && !pasid)) return -EINVAL;
      iommufd_->Detach(device_id_, pasid ? command.pasid : 0);
      return 0;
    }
    default:
      return -ENOTTY;
  }
}

int PciDevice::GetInfo(uapi::vfio_device_info& info) const {
  if (info.argsz < offsetof(uapi::vfio_device_info, cap_offset)) return -EINVAL;
  info.flags = uapi::VFIO_DEVICE_FLAGS_PCI | (CanReset() ? uapi::VFIO_DEVICE_FLAGS_RESET : 0);
  info.num_regions = uapi::VFIO_PCI_NUM_REGIONS;
  info.num_irqs = uapi::VFIO_PCI_NUM_IRQS;
  return AddCapabilities(info, uapi::VFIO_DEVICE_FLAGS_CAPS, description_.capabilities) ? 0 : -EFAULT;
}

uint64_t PciDevice::RegionSize(uint32_t index) const {
  if (index < kBars) return description_.bars.at(index).size;
  if (index == uapi::VFIO_PCI_ROM_REGION_INDEX) return description_.rom_size;
  return index == uapi::VFIO_PCI_CONFIG_REGION_INDEX ? config_.size() : 0;
}

// vfio_pci_probe_mmaps(): memory BARs, also such as are smaller than a page; here all lie at the start of one.
bool PciDevice::CanMmap(uint32_t index) const {
  if (index >= kBars) return false;
  const auto& [kind, size] = description_.bars.at(index);
  return (kind == Kind::kMemory || kind == Kind::kRegisters) && size > 0;
}

int PciDevice::GetRegionInfo(uapi::vfio_region_info& info) const {
  if (info.argsz < sizeof(info) || info.index >= uapi::VFIO_PCI_VGA_REGION_INDEX) return -EINVAL;
  info.flags = 0;
  info.cap_offset = 0;
  info.offset = uint64_t{info.index} << kRegionShift;
  info.size = RegionSize(info.index);
  if (info.size == 0) return 0;
  info.flags = uapi::VFIO_REGION_INFO_FLAG_READ;
  if (info.index != uapi::VFIO_PCI_ROM_REGION_INDEX) info.flags |= uapi::VFIO_REGION_INFO_FLAG_WRITE;
  if (!CanMmap(info.index)) return 0;
  info.flags |= uapi::VFIO_REGION_INFO_FLAG_MMAP;
  std::vector<InfoCapability> capabilities;
  if (description_.msix && description_.msix->bar == info.index) {
    capabilities.push_back({uapi::VFIO_REGION_INFO_CAP_MSIX_MAPPABLE, 1, {}});
  }
  const auto& more = description_.region_capabilities.at(info.index);
  capabilities.insert(capabilities.end(), more.begin(), more.end());
  return AddCapabilities(info, uapi::VFIO_REGION_INFO_FLAG_CAPS, capabilities) ? 0 : -EFAULT;
}

int PciDevice::GetIrqInfo(uapi::vfio_irq_info& info) const {
  if (info.argsz < sizeof(info) || info.index >= uapi::VFIO_PCI_NUM_IRQS) return -EINVAL;
  info.flags = description_.irqs.at(info.index).flags;
  info.count = description_.irqs.at(info.index).count;
  return 0;
}

// Which operations vfio-pci knows of each feature on a physical device that has no driver of its own.
int PciDevice::Feature(uapi::vfio_device_feature& feature) {
  if (const int bad = CheckHeader(feature); bad != 0) return bad;
  if (const auto answer = CoreFeature(feature, nullptr, nullptr, table_)) return *answer;
  constexpr uint32_t kSet = uapi::VFIO_DEVICE_FEATURE_SET;
  switch (feature.flags & uapi::VFIO_DEVICE_FEATURE_MASK) {
    case uapi::VFIO_DEVICE_FEATURE_PCI_VF_TOKEN: {
      if (description_.virtual_functions == 0) return -ENOTTY;
      const auto checked = CheckFeature(feature, kSet, vf_token_.size());
      return checked ? *checked : VfToken(feature);
    }
    case uapi::VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY: {
      const auto checked = CheckFeature(feature, kSet, 0);
      return checked ? *checked : EnterLowPower(nullptr);
    }
    case uapi::VFIO_DEVICE_FEATURE_LOW_POWER_EXIT: {
      const auto checked = CheckFeature(feature, kSet, 0);
      return checked ? *checked : ExitLowPower();
    }
    case uapi::VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP: {
      const auto checked = CheckFeature(feature, kSet, sizeof(uapi::vfio_device_low_power_entry_with_wakeup));
      return checked ? *checked : EnterLowPowerWithWakeUp(feature);
    }
    case uapi::VFIO_DEVICE_FEATURE_DMA_BUF: {
      auto& request = *reinterpret_cast<uapi::vfio_device_feature_dma_buf*>(&feature + 1);
      const auto checked = CheckFeature(feature, uapi::VFIO_DEVICE_FEATURE_GET, sizeof(request));
      return checked ? *checked : ExportDmaBuf(request);
    }
    default:
      return -ENOTTY;
  }
}

// vfio_pci_core_feature_dma_buf()
int PciDevice::ExportDmaBuf(const uapi::vfio_device_feature_dma_buf& request) {
  if (request.nr_ranges == 0 || request.flags != 0) return -EINVAL;
  if (request.region_index >= kBars) return -ENODEV;
  const auto& [kind, size] = description_.bars.at(request.region_index);
  if (kind == Kind::kNone) return -ENODEV;
  // memdup_array_user()
  if (request.nr_ranges > kMostCopied / sizeof(uapi::vfio_region_dma_range)) return -ENOMEM;
  auto copied = CopyArrayFromUser<uapi::vfio_region_dma_range>(&request + 1, request.nr_ranges);
  if (!copied) return -EFAULT;
  auto& ranges = *copied;
  uint64_t total = 0;
  for (const auto& [offset, length] : ranges) {
    if (length == 0 || (offset | length) % kPageSize != 0) return -EINVAL;
    if (__builtin_add_overflow(total, length, &total)) return -EINVAL;
  }
  if (total >> 63 != 0 || kind == Kind::kIoPort) return -EINVAL;
  for (const auto& [offset, length] : ranges) {
    uint64_t end = 0;
    if (__builtin_add_overflow(offset, length, &end)) return -EOVERFLOW;
    if (end > size) return -EINVAL;
  }
  const auto buffer = std::make_shared<VfioDmaBuf>(table_, shared_from_this(), request.region_index, std::move(ranges),
                                                   !MemoryEnabled());
  if (exports_.size() == exports_.capacity()) {
    std::erase_if(exports_, [](const auto& weak) { return weak.expired(); });
  }
  exports_.push_back(buffer);
  return table_.Install(buffer, "dmabuf");
}

// A function-level reset, or a reset of the bus that disturbs no other function.
bool PciDevice::CanReset() const { return config_.CanResetFunction() || bus_.size() <= 1; }

// The command register survives (vfio-pci saves and restores config space); exports are revoked.
int PciDevice::Reset() {
  if (!CanReset()) return -EINVAL;
  if (!SetRevoked(true)) return kSleeps;
  if (MemoryEnabled()) SetRevoked(false);
  interrupts_.Reset();
  model_->Reset();
  return 0;
}

// vfio_pci_runtime_pm_entry(): revokes before it refuses.
int PciDevice::EnterLowPower(std::shared_ptr<Eventfd> wake_up) {
  if (!SetRevoked(true)) return kSleeps;
  if (low_power_) return -EINVAL;
  low_power_ = true;
  wake_up_ = std::move(wake_up);
  return 0;
}

// vfio_pci_core_pm_entry_with_wakeup()
int PciDevice::EnterLowPowerWithWakeUp(const uapi::vfio_device_feature& feature) {
  uapi::vfio_device_low_power_entry_with_wakeup entry = {};
  std::memcpy(&entry, &feature + 1, sizeof(entry));
  if (entry.wakeup_eventfd < 0) return -EINVAL;
  std::shared_ptr<Eventfd> wake_up;
  if (const int taken = Eventfd::Take(entry.wakeup_eventfd, &wake_up); taken != 0) return taken;
  return EnterLowPower(std::move(wake_up));
}

// vfio_pci_core_runtime_resume(): exports stay revoked until LOW_POWER_EXIT.
void PciDevice::WakeUp() {
  if (!wake_up_) return;
  wake_up_->Signal();
  wake_up_.reset();
  low_power_ = false;
}

int PciDevice::ExitLowPower() {
  low_power_ = false;
  if (MemoryEnabled()) SetRevoked(false);
  return 0;
}

int64_t PciDevice::WriteConfig(uint64_t offset, const void* buffer, std::size_t size) {
  const bool was_enabled = MemoryEnabled();
  bool resets = false;
  const int64_t written = config_.Write(offset, buffer, size, &resets);
  if (written > 0) FollowConfig(offset, size);
  if (was_enabled != MemoryEnabled()) SetRevoked(!MemoryEnabled());
  if (resets) Reset();
  return written;
}

uint64_t PciDevice::Access1(unsigned bar, uint64_t offset, unsigned width, Access access, uint64_t value) {
  if (const auto& memory = memory_.at(bar)) {
    uint8_t* bytes = memory->bytes() + offset;
    if (access == Access::kRead) {
      value = 0;
      std::memcpy(&value, bytes, width);
    } else {
      std::memcpy(bytes, &value, width);
    }
    return value;
  }
  if (access == Access::kRead) return model_->Read(bar, offset, width);
  model_->Write(bar, offset, width, value);
  return value;
}

int64_t PciDevice::MoveBar(unsigned bar, uint64_t offset, uint8_t* buffer, std::size_t size, Access access) {
  const auto& msix = description_.msix;
  const bool has_table = msix && msix->bar == bar;
  const uint64_t hole = has_table ? msix->offset : ~uint64_t{0};
  const uint64_t hole_end = has_table ? msix->offset + msix->size : ~uint64_t{0};
  const std::size_t total = size;
  while (size > 0) {
    std::size_t moved = 0;
    if (offset >= hole && offset < hole_end) {
      moved = std::min<uint64_t>(size, hole_end - offset);
      if (access == Access::kRead) std::memset(buffer, 0xff, moved);
    } else {
      const uint64_t room = offset < hole ? std::min<uint64_t>(size, hole - offset) : size;
      moved = 8;
      while (moved > room || offset % moved != 0) moved /= 2;
      uint64_t value = 0;
      std::memcpy(&value, buffer, moved);
      value = Access1(bar, offset, static_cast<unsigned>(moved), access, value);
      std::memcpy(buffer, &value, moved);
    }
    buffer += moved;
    offset += moved;
    size -= moved;
  }
  return static_cast<int64_t>(total);
}

int64_t PciDevice::ReadRegion(uint64_t offset, void* buffer, std::size_t size) {
  WakeUp();
  const auto index = static_cast<uint32_t>(offset >> kRegionShift);
  offset &= kRegionOffsetMask;
  if (index == uapi::VFIO_PCI_CONFIG_REGION_INDEX) return ReadConfig(offset, buffer, size);
  if (offset >= RegionSize(index)) return -EINVAL;
  size = std::min<uint64_t>(size, RegionSize(index) - offset);
  if (index == uapi::VFIO_PCI_ROM_REGION_INDEX) {  // an empty ROM
    std::memset(buffer, 0xff, size);
    return static_cast<int64_t>(size);
  }
  if (description_.bars.at(index).kind != Kind::kIoPort && !MemoryEnabled()) return -EIO;
  return MoveBar(index, offset, static_cast<uint8_t*>(buffer), size, Access::kRead);
}

int64_t PciDevice::WriteRegion(uint64_t offset, const void* buffer, std::size_t size) {
  WakeUp();
  const auto index = static_cast<uint32_t>(offset >> kRegionShift);
  offset &= kRegionOffsetMask;
  if (index == uapi::VFIO_PCI_CONFIG_REGION_INDEX) return WriteConfig(offset, buffer, size);
  if (index == uapi::VFIO_PCI_ROM_REGION_INDEX || offset >= RegionSize(index)) return -EINVAL;
  size = std::min<uint64_t>(size, RegionSize(index) - offset);
  if (description_.bars.at(index).kind != Kind::kIoPort && !MemoryEnabled()) return -EIO;
  std::vector<uint8_t> bytes(static_cast<const uint8_t*>(buffer), static_cast<const uint8_t*>(buffer) + size);
  return MoveBar(index, offset, bytes.data(), size, Access::kWrite);
}

// A BAR of a device, from `start` on.
struct PciDevice::BarPart {
  std::shared_ptr<PciDevice> device;
  unsigned bar;
  uint64_t start;
};

// Accesses through a mapping of registers. They arrive from JavaScript without the fake kernel's lock.
class PciDevice::RegisterTrap : public kernel::MmioTrap {
 public:
  explicit RegisterTrap(BarPart part) : part_(std::move(part)) {}

  uint64_t Read(uint64_t offset, unsigned width) override {
    const kernel::Lock guard(part_.device->lock_);
    return part_.device->Answers() ? part_.device->Access1(part_.bar, part_.start + offset, width, Access::kRead, 0)
                                   : ~uint64_t{0};
  }
  void Write(uint64_t offset, unsigned width, uint64_t value) override {
    const kernel::Lock guard(part_.device->lock_);
    if (part_.device->Answers()) part_.device->Access1(part_.bar, part_.start + offset, width, Access::kWrite, value);
  }

 private:
  const BarPart part_;
};

// The target of a mapping by address: the BAR on the bus, whoever uses the device later. It is never revoked; a device
// that does not decode memory does not answer.
class PciDevice::MappedBar : public Pages {
 public:
  explicit MappedBar(BarPart part) : part_(std::move(part)) {}

  int Pin(uint64_t, uint64_t, bool) const override REQUIRES(part_.device->lock_) {
    return part_.device->Answers() ? 0 : -EFAULT;
  }
  bool Read(uint64_t offset, void* buffer, std::size_t size) const override REQUIRES(part_.device->lock_) {
    if (part_.device->Answers()) {
      part_.device->ReadBar(part_.bar, part_.start + offset, buffer, size);
    } else {
      std::memset(buffer, 0xff, size);
    }
    return true;
  }
  bool Write(uint64_t offset, const void* buffer, std::size_t size) const override REQUIRES(part_.device->lock_) {
    if (part_.device->Answers()) part_.device->WriteBar(part_.bar, part_.start + offset, buffer, size);
    return true;
  }

 private:
  const BarPart part_;
};

int PciDevice::Mmap(std::size_t length, int protection, int flags, uint64_t offset, kernel::MappedPages* out) {
  const auto index = static_cast<uint32_t>(offset >> kRegionShift);
  offset &= kRegionOffsetMask;
  if ((flags & MAP_SHARED) == 0 || !CanMmap(index)) return -EINVAL;
  if (offset % kPageSize != 0 || length == 0) return -EINVAL;
  const uint64_t pages = (RegionSize(index) + kPageSize - 1) & ~(kPageSize - 1);
  const uint64_t wanted = (length + kPageSize - 1) & ~(kPageSize - 1);
  if (wanted > pages || offset > pages - wanted) return -EINVAL;
  const auto& memory = memory_.at(index);
  if (memory) {
    if (const int mapped = memory->Map(length, protection, flags, offset, &out->address); mapped != 0) return mapped;
  } else {
    const int placed = flags & kernel::kPlacement;
    void* address = mmap(out->address, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | placed, -1, 0);
    if (address == MAP_FAILED) return -errno;
    out->address = address;
  }
  // Weak, because the mapping of a closed region may last until its ArrayBuffer is garbage collected.
  const auto make_pages = [weak = weak_from_this(), index, start = offset](uint64_t at) -> std::shared_ptr<Pages> {
    auto device = weak.lock();
    return device ? std::make_shared<MappedBar>(BarPart{std::move(device), index, start + at}) : nullptr;
  };
  table_.bar_mappings().Add(reinterpret_cast<uintptr_t>(out->address), length, make_pages);
  if (!memory) out->trap = std::make_shared<RegisterTrap>(BarPart{shared_from_this(), index, offset});
  return 0;
}

void PciDevice::ReadBar(unsigned bar, uint64_t offset, void* buffer, std::size_t size) {
  if (memory_.at(bar)) {
    std::memcpy(buffer, memory_.at(bar)->bytes() + offset, size);
  } else {
    MoveBar(bar, offset, static_cast<uint8_t*>(buffer), size, Access::kRead);
  }
}

void PciDevice::WriteBar(unsigned bar, uint64_t offset, const void* buffer, std::size_t size) {
  if (memory_.at(bar)) {
    std::memcpy(memory_.at(bar)->bytes() + offset, buffer, size);
  } else {
    std::vector<uint8_t> bytes(static_cast<const uint8_t*>(buffer), static_cast<const uint8_t*>(buffer) + size);
    MoveBar(bar, offset, bytes.data(), size, Access::kWrite);
  }
}

bool PciDevice::Dma(Access access, uint64_t iova, void* buffer, std::size_t size) {
  if (access == Access::kRead) std::memset(buffer, 0, size);            // the result of an unanswered read
  if (!config_.BusMaster() || !(iommufd_ || container_)) return false;  // never reaches the bus
  const auto* space = AddressSpace();
  if (!space) {
    report_({description_.address, iova, access, "unattached"});
    return false;
  }
  const auto fault = space->Move(access, iova, buffer, size);
  if (fault) report_({description_.address, fault->first, access, fault->second});
  return !fault;
}

}  // namespace fake
