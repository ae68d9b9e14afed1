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
  iommufd.Call(VFIO_DMABUF_REQUEST(IOMMU_DESTROY), uapi::iommu_destroy{.id = id});
}

}  // namespace core
