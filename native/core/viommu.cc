// The ioctls of virtual IOMMUs and of what is made in them.
#include "core/viommu.h"

#include <cerrno>

namespace core {

std::shared_ptr<Viommu> Viommu::Allocate(const std::shared_ptr<const Hwpt>& parent, uint32_t device, uint32_t type,
                                         std::vector<uint8_t>* data) {
  const auto& iommufd = parent->iommufd();
  const auto command = iommufd->Call(VFIO_DMABUF_REQUEST(IOMMU_VIOMMU_ALLOC),
                                     uapi::iommu_viommu_alloc{.type = type,
                                                              .dev_id = device,
                                                              .hwpt_id = parent->id(),
                                                              .data_len = static_cast<uint32_t>(data->size()),
                                                              .data_uptr = reinterpret_cast<uintptr_t>(data->data())});
  return std::shared_ptr<Viommu>(new Viommu(iommufd, command.out_viommu_id, {parent}));
}

std::shared_ptr<Vdevice> Vdevice::Allocate(const std::shared_ptr<const Viommu>& viommu, uint32_t device,
                                           uint64_t virtual_id) {
  const auto& iommufd = viommu->iommufd();
  const auto command =
      iommufd->Call(VFIO_DMABUF_REQUEST(IOMMU_VDEVICE_ALLOC),
                    uapi::iommu_vdevice_alloc{.viommu_id = viommu->id(), .dev_id = device, .virt_id = virtual_id});
  return std::shared_ptr<Vdevice>(new Vdevice(iommufd, command.out_vdevice_id, {viommu}));
}

void Vdevice::Destroy() {
  try {
    IommufdObject::Destroy();
  } catch (const Failure& failure) {
    if (failure.error != ENOENT) throw;
  }
}

std::shared_ptr<HwQueue> HwQueue::Allocate(const std::shared_ptr<const Viommu>& viommu, uint32_t type, uint32_t index,
                                           uint64_t iova, uint64_t length) {
  const auto& iommufd = viommu->iommufd();
  const auto command = iommufd->Call(
      VFIO_DMABUF_REQUEST(IOMMU_HW_QUEUE_ALLOC),
      uapi::iommu_hw_queue_alloc{
          .viommu_id = viommu->id(), .type = type, .index = index, .nesting_parent_iova = iova, .length = length});
  return std::shared_ptr<HwQueue>(new HwQueue(iommufd, command.out_hw_queue_id, {viommu}));
}

std::shared_ptr<VeventQueue> VeventQueue::Allocate(const std::shared_ptr<const Viommu>& viommu, uint32_t type,
                                                   uint32_t depth) {
  const auto& iommufd = viommu->iommufd();
  const auto command =
      iommufd->Call(VFIO_DMABUF_REQUEST(IOMMU_VEVENTQ_ALLOC),
                    uapi::iommu_veventq_alloc{.viommu_id = viommu->id(), .type = type, .veventq_depth = depth});
  return std::shared_ptr<VeventQueue>(
      new VeventQueue(iommufd, command.out_veventq_id, command.out_veventq_fd, {viommu}));
}

}  // namespace core
