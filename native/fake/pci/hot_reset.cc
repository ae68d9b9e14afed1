// Hot reset of a PCI device's bus. The rules are those of drivers/vfio/pci/vfio_pci_core.c.
#include <algorithm>

#include "fake/files/user_memory.h"
#include "fake/pci/pci_device.h"

namespace fake {

// vfio_pci_core_register_device(): a virtual function is in a set of its own.
bool PciDevice::SharesReset(const PciDevice& other) const {
  return &other == this || (description_.physical.empty() && other.description_.physical.empty());
}

bool PciDevice::GroupIsOf(const Iommufd* iommufd) const {
  return std::ranges::any_of(bus_, [&](const auto& weak) REQUIRES(lock_) {
    const auto other = weak.lock();
    if (!other) return false;
    other->IsLockedWith(*this);
    return other->iommufd_.get() == iommufd && other->description_.group == description_.group;
  });
}

int32_t PciDevice::DeviceIdFor(const Iommufd* iommufd) const {
  if (iommufd_) return iommufd_.get() == iommufd ? static_cast<int32_t>(device_id_) : uapi::VFIO_PCI_DEVID_NOT_OWNED;
  return GroupIsOf(iommufd) ? uapi::VFIO_PCI_DEVID_OWNED : uapi::VFIO_PCI_DEVID_NOT_OWNED;
}

// Every function of the bus is listed, also those of other VFIO device sets.
int PciDevice::GetHotResetInfo(uapi::vfio_pci_hot_reset_info& info) const {
  if (info.argsz < sizeof(info)) return -EINVAL;
  info.flags = 0;
  info.count = static_cast<uint32_t>(bus_.size());
  if (info.argsz < sizeof(info) + bus_.size() * sizeof(uapi::vfio_pci_dependent_device)) return -ENOSPC;
  const bool by_cdev = group_opens_ == 0;
  if (by_cdev) info.flags = uapi::VFIO_PCI_HOT_RESET_FLAG_DEV_ID | uapi::VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED;
  std::vector<uapi::vfio_pci_dependent_device> devices;
  for (const auto& weak : bus_) {
    const auto device = weak.lock();
    device->IsLockedWith(*this);
    const auto number = [&](std::size_t at, std::size_t digits) {  // of "0000:03:00.0"
      return static_cast<unsigned>(std::stoul(device->description_.address.substr(at, digits), nullptr, 16));
    };
    const int32_t id = SharesReset(*device) ? device->DeviceIdFor(iommufd_.get()) : uapi::VFIO_PCI_DEVID_NOT_OWNED;
    if (id == uapi::VFIO_PCI_DEVID_NOT_OWNED) info.flags &= ~uapi::VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED;
    devices.push_back({
        .devid = by_cdev ? static_cast<uint32_t>(id) : device->description_.group,
        .segment = static_cast<uint16_t>(number(0, 4)),
        .bus = static_cast<uint8_t>(number(5, 2)),
        .devfn = static_cast<uint8_t>(number(8, 2) << 3 | number(11, 1)),
    });
  }
  if (!CopyToUser(&info + 1, devices.data(), devices.size() * sizeof(devices[0]))) return -EFAULT;
  return 0;
}

// vfio_pci_dev_set_hot_reset()
int PciDevice::HotReset(const uapi::vfio_pci_hot_reset& request) {
  if (request.argsz < sizeof(request) || request.flags != 0) return -EINVAL;
  const bool by_cdev = group_opens_ == 0;
  if ((request.count == 0) != by_cdev) return -EINVAL;
  std::vector<const VfioGroup*> groups;
  if (const int found = FindGroups(request, &groups); found != 0) return found;
  std::vector<std::shared_ptr<PciDevice>> devices;
  devices.reserve(bus_.size());
  for (const auto& weak : bus_) devices.push_back(weak.lock());
  for (const auto& device : devices) {
    if (!SharesReset(*device)) return -EINVAL;
  }
  int result = 0;
  for (const auto& device : devices) {
    device->IsLockedWith(*this);
    const bool owned = by_cdev ? device->DeviceIdFor(iommufd_.get()) != uapi::VFIO_PCI_DEVID_NOT_OWNED
                               : std::ranges::find(groups, device->group()) != groups.end();
    if (!owned) {
      result = -EINVAL;
      break;
    }
    if (!device->SetRevoked(true)) return kSleeps;
  }
  for (const auto& device : devices) {
    device->IsLockedWith(*this);
    device->config_.WakeUp();
    if (result == 0) device->model_->Reset();
    if (device->IsOpen() && device->MemoryEnabled()) device->SetRevoked(false);
  }
  return result;
}

}  // namespace fake
