// VFIO's ioctls for a mediated device, and the list of types.
#include "fake/mdev/mdev.h"

#include <cstring>

#include "fake/mdev/mbochs.h"
#include "fake/mdev/mdpy.h"
#include "fake/mdev/mtty.h"

namespace fake {
namespace {

// The samples split an access into aligned parts of at most 4 bytes.
unsigned WidthAt(uint64_t offset, std::size_t left) {
  unsigned width = 4;
  while (width > left || offset % width != 0) width /= 2;
  return width;
}

}  // namespace

int Mdev::Bind(const uapi::vfio_device_bind_iommufd& command, uint32_t* device_id) {
  if (command.argsz < offsetof(uapi::vfio_device_bind_iommufd, token_uuid_ptr) || command.flags != 0 ||
      command.iommufd < 0) {
    return -EINVAL;
  }
  if (iommufd_) return -EINVAL;
  std::shared_ptr<Iommufd> iommufd;
  if (const int found = FindIommufd(command.iommufd, &iommufd); found != 0) return found;
  iommufd_ = std::move(iommufd);
  access_ = std::make_shared<IommufdAccess>();
  *device_id = iommufd_->Add(access_);
  return 0;
}

void Mdev::Unbind() {
  CloseDevice();
  if (auto* state = migration()) state->Close();
  iommufd_->Remove(access_->id);
  access_.reset();
  iommufd_.reset();
}

int Mdev::Ioctl(uapi::request_t request, void* argument) {
  switch (request) {
    case uapi::VFIO_DEVICE_ATTACH_IOMMUFD_PT: {
      const auto& command = *static_cast<uapi::vfio_device_attach_iommufd_pt*>(argument);
      if (command.argsz < offsetof(uapi::vfio_device_attach_iommufd_pt, pasid)) return -EINVAL;
      if (command.flags != 0) return (command.flags & ~1U) != 0 ? -EINVAL : -EOPNOTSUPP;  // a PASID
      return access_->Attach(*iommufd_, command.pt_id);
    }
    case uapi::VFIO_DEVICE_DETACH_IOMMUFD_PT: {
      const auto& command = *static_cast<uapi::vfio_device_detach_iommufd_pt*>(argument);
      if (command.argsz < offsetof(uapi::vfio_device_detach_iommufd_pt, pasid)) return -EINVAL;
      if (command.flags != 0) return (command.flags & ~1U) != 0 ? -EINVAL : -EOPNOTSUPP;
      access_->Detach();
      return 0;
    }
    case uapi::VFIO_DEVICE_FEATURE: {
      auto& feature = *static_cast<uapi::vfio_device_feature*>(argument);
      if (const int bad = CheckHeader(feature); bad != 0) return bad;
      return CoreFeature(feature, migration(), log(), table_).value_or(-ENOTTY);
    }
    case uapi::VFIO_DEVICE_GET_REGION_INFO:
      return GetRegionInfo(*static_cast<uapi::vfio_region_info*>(argument));
    case uapi::VFIO_DEVICE_GET_INFO:
      return GetInfo(*static_cast<uapi::vfio_device_info*>(argument));
    case uapi::VFIO_DEVICE_GET_IRQ_INFO: {
      auto& info = *static_cast<uapi::vfio_irq_info*>(argument);
      return info.argsz < sizeof(info) ? -EINVAL : GetIrqInfo(info);
    }
    case uapi::VFIO_DEVICE_SET_IRQS: {
      // vfio_set_irqs_validate_and_prepare(), with the number of indices as the limit of the range
      const auto& set = *static_cast<uapi::vfio_irq_set*>(argument);
      const uint64_t limit = asked_info_ ? uapi::VFIO_PCI_NUM_IRQS : 0;
      const bool in_range = set.start < limit && uint64_t{set.start} + set.count <= limit;
      return in_range ? DriverIoctl(request, argument) : -EINVAL;
    }
    case uapi::VFIO_DEVICE_RESET:
      return Reset();
    default:
      return DriverIoctl(request, argument);
  }
}

int Mdev::GetInfo(uapi::vfio_device_info& info) {
  if (info.argsz < offsetof(uapi::vfio_device_info, cap_offset)) return -EINVAL;
  info.flags = uapi::VFIO_DEVICE_FLAGS_PCI;
  info.num_regions = regions();
  info.num_irqs = uapi::VFIO_PCI_NUM_IRQS;
  asked_info_ = true;
  return 0;
}

// vfio_get_region_info()
int Mdev::GetRegionInfo(uapi::vfio_region_info& info) {
  if (info.argsz < sizeof(info)) return -EINVAL;
  Region region = {};
  uapi::vfio_region_info_cap_type type = {};
  if (const int result = GetRegion(info.index, &region, &type); result != 0) return result;
  info.size = region.size;
  info.offset = region.offset;
  info.flags = region.flags;
  if (type.header.id == 0) return 0;
  info.flags |= uapi::VFIO_REGION_INFO_FLAG_CAPS;
  if (info.argsz < sizeof(info) + sizeof(type)) {
    info.argsz = sizeof(info) + sizeof(type);
    info.cap_offset = 0;
  } else {
    info.cap_offset = sizeof(info);
    std::memcpy(&info + 1, &type, sizeof(type));
  }
  return 0;
}

int64_t Mdev::ReadRegion(uint64_t offset, void* buffer, std::size_t size) {
  for (std::size_t done = 0; done < size;) {
    const unsigned width = WidthAt(offset + done, size - done);
    uint32_t value = 0;
    if (!Read(offset + done, width, &value)) return -EFAULT;
    std::memcpy(static_cast<uint8_t*>(buffer) + done, &value, width);
    done += width;
  }
  return static_cast<int64_t>(size);
}

int64_t Mdev::WriteRegion(uint64_t offset, const void* buffer, std::size_t size) {
  for (std::size_t done = 0; done < size;) {
    const unsigned width = WidthAt(offset + done, size - done);
    uint32_t value = 0;
    std::memcpy(&value, static_cast<const uint8_t*>(buffer) + done, width);
    if (!Write(offset + done, width, value)) return -EFAULT;
    done += width;
  }
  return static_cast<int64_t>(size);
}

std::shared_ptr<Mdev> MakeMdev(const MdevDescription& description, FileTable& table, kernel::Mutex& lock) {
  constexpr uint64_t kMiB = 1U << 20;
  const auto& type = description.type;
  if (type == "mtty-1") return std::make_shared<Mtty>(description, table, lock, 1);
  if (type == "mtty-2") return std::make_shared<Mtty>(description, table, lock, 2);
  if (type == "mbochs-small") return std::make_shared<Mbochs>(description, table, lock, MbochsType{4 * kMiB, 800, 600});
  if (type == "mbochs-medium") {
    return std::make_shared<Mbochs>(description, table, lock, MbochsType{16 * kMiB, 1920, 1440});
  }
  if (type == "mdpy-vga") return std::make_shared<Mdpy>(description, table, lock, 640, 480);
  return nullptr;
}

}  // namespace fake
