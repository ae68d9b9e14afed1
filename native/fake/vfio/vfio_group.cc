// The ioctls of a group, and its devices.
#include "fake/vfio/vfio_group.h"

#include <fcntl.h>

#include <utility>

#include "fake/files/user_memory.h"
#include "fake/iommufd/iommufd_ioas.h"

namespace fake {
namespace {

constexpr std::size_t kLongestName = 4096;  // a page

}  // namespace

VfioGroupFile::~VfioGroupFile() {
  LetGo();
  group_->open = false;
}

void VfioGroupFile::LetGo() {
  if (group_->container) group_->container->Detach(group_.get());
  group_->container.reset();
  group_->iommufd.reset();
}

int VfioGroupFile::Ioctl(uapi::request_t request, void* argument) {
  switch (request) {
    case uapi::VFIO_GROUP_GET_STATUS:
      return GetStatus(*static_cast<uapi::vfio_group_status*>(argument));
    case uapi::VFIO_GROUP_SET_CONTAINER:
      return SetContainer(*static_cast<int*>(argument));
    case uapi::VFIO_GROUP_UNSET_CONTAINER:
      return UnsetContainer();
    case uapi::VFIO_GROUP_GET_DEVICE_FD:
      if (const auto name = CopyStringFromUser(static_cast<const char*>(argument), kLongestName))
        return GetDeviceFd(*name);
      return -EFAULT;
    default:
      return -ENOTTY;
  }
}

int VfioGroupFile::GetStatus(uapi::vfio_group_status& status) const {
  if (status.argsz < sizeof(status)) return -EINVAL;
  const bool set = group_->container || group_->iommufd;
  status.flags = set ? uapi::VFIO_GROUP_FLAGS_VIABLE | uapi::VFIO_GROUP_FLAGS_CONTAINER_SET : 0;
  if (group_->owned == 0) status.flags |= uapi::VFIO_GROUP_FLAGS_VIABLE;
  return 0;
}

int VfioGroupFile::SetContainer(int fd) {
  const auto file = table_.Find(fd);
  if (!file && fcntl(fd, F_GETFD) < 0) return -EBADF;
  if (group_->container || group_->iommufd) return -EINVAL;
  if (const auto container = std::dynamic_pointer_cast<VfioContainerFile>(file)) {
    if (group_->owned > 0) return -EPERM;
    if (group_->firmware_region) return -EINVAL;
    if (const int attached = container->container()->Attach(group_.get()); attached != 0) return attached;
    group_->container = container->container();
    return 0;
  }
  const auto iommufd = std::dynamic_pointer_cast<Iommufd>(file);
  if (!iommufd) return -EBADFD;
  if (iommufd->vfio_ioas == 0) iommufd->vfio_ioas = iommufd->Add(std::make_shared<Ioas>());
  group_->iommufd = iommufd;
  return 0;
}

// An iommufd can be unset while devices are open.
int VfioGroupFile::UnsetContainer() {
  if (!group_->container && !group_->iommufd) return -EINVAL;
  if (group_->users > 0) return -EBUSY;
  LetGo();
  return 0;
}

int VfioGroupFile::GetDeviceFd(const std::string& name) {
  for (const auto& device : group_->devices()) {
    device->IsLocked();
    const int match = device->Match(name);
    if (match < 0) return match;
    if (match == 0) continue;
    if (!group_->container && !group_->iommufd) return -EINVAL;
    if (group_->container && !group_->container->has_iommu()) return -EINVAL;
    if (const int opened = device->OpenInGroup(group_->container, group_->iommufd); opened != 0) return opened;
    ++(group_->container ? group_->users : group_->owned);
    return table_.Install(std::make_shared<VfioGroupDevice>(device, group_->container ? shared_from_this() : nullptr),
                          "vfio-device");
  }
  return -ENODEV;
}

VfioGroupDevice::~VfioGroupDevice() {
  device_->CloseInGroup();
  --(group_ ? group_->group()->users : device_->group()->owned);
}

int VfioGroupDevice::Ioctl(uapi::request_t request, void* argument) {
  if (request == uapi::VFIO_DEVICE_BIND_IOMMUFD) return -EINVAL;
  const bool of_cdevs =
      request == uapi::VFIO_DEVICE_ATTACH_IOMMUFD_PT || request == uapi::VFIO_DEVICE_DETACH_IOMMUFD_PT;
  return of_cdevs ? -ENOTTY : VfioDeviceFile::Ioctl(request, argument);
}

}  // namespace fake
