// The ioctls of /dev/vfio/vfio.
#include "fake/vfio/vfio_container.h"

namespace fake {

int VfioContainer::Ioctl(uapi::request_t request, void* argument) {
  switch (request) {
    case uapi::VFIO_GET_API_VERSION:
      return uapi::VFIO_API_VERSION;
    case uapi::VFIO_CHECK_EXTENSION:
      return Type1Iommu::CheckExtension(iommu_driver_.get(), reinterpret_cast<uintptr_t>(argument));
    case uapi::VFIO_SET_IOMMU:
      return SetIommu(reinterpret_cast<uintptr_t>(argument));
    default:
      return iommu_driver_ ? iommu_driver_->Ioctl(request, argument) : -EINVAL;
  }
}

int VfioContainer::SetIommu(uint64_t type) {
  if (groups_.empty() || iommu_driver_) return -EINVAL;
  if (type != uapi::VFIO_TYPE1_IOMMU && type != uapi::VFIO_TYPE1v2_IOMMU) return -ENODEV;
  auto driver = std::make_unique<Type1Iommu>(bars_, type == uapi::VFIO_TYPE1v2_IOMMU);
  for (const VfioGroup* group : groups_) {
    if (const int attached = driver->AttachGroup(group, iommu_); attached != 0) return attached;
  }
  iommu_driver_ = std::move(driver);
  return 0;
}

int VfioContainer::Attach(const VfioGroup* group) {
  const int attached = iommu_driver_ ? iommu_driver_->AttachGroup(group, iommu_) : 0;
  if (attached == 0) groups_.insert(group);
  return attached;
}

void VfioContainer::Detach(const VfioGroup* group) {
  groups_.erase(group);
  if (iommu_driver_) iommu_driver_->DetachGroup(group);
  if (groups_.empty()) iommu_driver_.reset();
}

}  // namespace fake
