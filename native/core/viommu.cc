// The ioctls of virtual IOMMUs and of what is made in them.
#include "core/viommu.h"

#include <cerrno>

namespace core {

std::shared_ptr<Viommu> Viommu::Allocate(std::shared_ptr<const Hwpt> parent, uint32_t device, uint32_t type,
                                         std::vector<uint8_t>* data) {
  uapi::iommu_viommu_alloc command = {
      .size = sizeof(command),
      .type = type,
      .dev_id = device,
      .hwpt_id = parent->id(),
      .data_len = static_cast<uint32_t>(data->size()),
      .data_uptr = reinterpret_cast<uintptr_t>(data->data()),
  };
  auto iommufd = parent->iommufd();
  iommufd->Ioctl(VFIO_DMABUF_REQUEST(IOMMU_VIOMMU_ALLOC), &command);
  return std::shared_ptr<Viommu>(new Viommu(std::move(iommufd), command.out_viommu_id, {std::move(parent)}));
}

std::shared_ptr<Vdevice> Vdevice::Allocate(std::shared_ptr<const Viommu> viommu, uint32_t device, uint64_t virtual_id) {
  uapi::iommu_vdevice_alloc command = {
      .size = sizeof(command), .viommu_id = viommu->id(), .dev_id = device, .virt_id = virtual_id};
  auto iommufd = viommu->iommufd();
  iommufd->Ioctl(VFIO_DMABUF_REQUEST(IOMMU_VDEVICE_ALLOC), &command);
  return std::shared_ptr<Vdevice>(new Vdevice(std::move(iommufd), command.out_vdevice_id, {std::move(viommu)}));
}

void Vdevice::Destroy() {
  try {
    IommufdObject::Destroy();
  } catch (const Failure& failure) {
    if (failure.error != ENOENT) throw;
  }
}

std::shared_ptr<HwQueue> HwQueue::Allocate(std::shared_ptr<const Viommu> viommu, uint32_t type, uint32_t index,
                                           uint64_t iova, uint64_t length) {
  uapi::iommu_hw_queue_alloc command = {
      .size = sizeof(command),
      .viommu_id = viommu->id(),
      .type = type,
      .index = index,
      .nesting_parent_iova = iova,
      .length = length,
  };
  auto iommufd = viommu->iommufd();
  iommufd->Ioctl(VFIO_DMABUF_REQUEST(IOMMU_HW_QUEUE_ALLOC), &command);
  return std::shared_ptr<HwQueue>(new HwQueue(std::move(iommufd), command.out_hw_queue_id, {std::move(viommu)}));
}

std::shared_ptr<VeventQueue> VeventQueue::Allocate(std::shared_ptr<const Viommu> viommu, uint32_t type,
                                                   uint32_t depth) {
  uapi::iommu_veventq_alloc command = {
      .size = sizeof(command), .viommu_id = viommu->id(), .type = type, .veventq_depth = depth};
  const auto iommufd = viommu->iommufd();
  iommufd->Ioctl(VFIO_DMABUF_REQUEST(IOMMU_VEVENTQ_ALLOC), &command);
  return std::shared_ptr<VeventQueue>(
      new VeventQueue(iommufd, command.out_veventq_id, command.out_veventq_fd, {std::move(viommu)}));
}

}  // namespace core
