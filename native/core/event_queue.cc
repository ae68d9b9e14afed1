// Fault queues, and the end of every event queue.
#include "core/event_queue.h"

namespace core {

EventQueue::EventQueue(const std::shared_ptr<Fd>& iommufd, uint32_t id, uint32_t fd, Parents parents)
    : IommufdObject(iommufd, id, std::move(parents)),
      file_(std::make_shared<Fd>(iommufd->kernel(), static_cast<int>(fd))) {}

void EventQueue::Destroy() {
  file_.reset();
  IommufdObject::Destroy();
}

std::shared_ptr<FaultQueue> FaultQueue::Allocate(const std::shared_ptr<Fd>& iommufd) {
  const auto command = iommufd->Call(VFIO_DMABUF_REQUEST(IOMMU_FAULT_QUEUE_ALLOC), uapi::iommu_fault_alloc{});
  return std::shared_ptr<FaultQueue>(new FaultQueue(iommufd, command.out_fault_id, command.out_fault_fd));
}

}  // namespace core
