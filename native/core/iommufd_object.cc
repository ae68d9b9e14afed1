// IOMMU_DESTROY.
#include "core/iommufd_object.h"

namespace core {

IommufdObject::~IommufdObject() {
  if (id_ == 0) return;
  uapi::iommu_destroy command = {.size = sizeof(command), .id = id_};
  iommufd_->Ask(VFIO_DMABUF_REQUEST(IOMMU_DESTROY), &command);
}

void IommufdObject::Destroy() {
  if (id_ == 0) return;
  Destroy(*iommufd_, id_);
  id_ = 0;
}

void IommufdObject::Destroy(const Fd& iommufd, uint32_t id) {
  uapi::iommu_destroy command = {.size = sizeof(command), .id = id};
  iommufd.Ioctl(VFIO_DMABUF_REQUEST(IOMMU_DESTROY), &command);
}

}  // namespace core
