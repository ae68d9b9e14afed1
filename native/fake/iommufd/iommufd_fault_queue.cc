// Page requests that are read, and responses that are written.
#include "fake/iommufd/iommufd_fault_queue.h"

#include <cstring>

#include "fake/iommufd/event_file.h"
#include "fake/iommufd/iommufd_commands.h"

namespace fake {

void FaultQueue::Add(const Group& group) {
  deliver_.push_back(group);
  readiness.Set(true);
}

void FaultQueue::Drop(uint32_t device, uint32_t attached_pasid) {
  const auto its = [&](const Group& group) { return group.device == device && group.attached_pasid == attached_pasid; };
  std::erase_if(deliver_, its);
  std::erase_if(unanswered_, [&](const auto& entry) { return its(entry.second); });
  readiness.Set(waiting());
}

int64_t FaultQueue::Read(void* buffer, std::size_t size) {
  constexpr std::size_t kSize = sizeof(uapi::iommu_hwpt_pgfault);
  if (size % kSize != 0) return -ESPIPE;
  std::size_t done = 0;
  for (; waiting(); done += kSize) {
    if (done >= size) break;
    uint32_t cookie = 1;  // the lowest free
    while (unanswered_.contains(cookie)) ++cookie;
    auto& group = deliver_.front();
    group.request.cookie = cookie;
    std::memcpy(static_cast<uint8_t*>(buffer) + done, &group.request, kSize);
    unanswered_.emplace(cookie, group);
    deliver_.pop_front();
  }
  readiness.Set(waiting());
  return done == 0 && waiting() ? -EINVAL : static_cast<int64_t>(done);
}

int64_t FaultQueue::Write(const void* buffer, std::size_t size) {
  uapi::iommu_hwpt_page_response response = {};
  if (size % sizeof(response) != 0) return -ESPIPE;
  std::size_t done = 0;
  for (; done < size; done += sizeof(response)) {
    std::memcpy(&response, static_cast<const uint8_t*>(buffer) + done, sizeof(response));
    const bool known = response.code <= uapi::IOMMUFD_PAGE_RESP_INVALID;
    if (!known || unanswered_.erase(response.cookie) == 0) return done == 0 ? -EINVAL : static_cast<int64_t>(done);
  }
  return static_cast<int64_t>(done);
}

int FaultQueueAllocate(Iommufd& iommufd, uapi::iommu_fault_alloc& command) {
  if (command.flags != 0) return -EOPNOTSUPP;
  const auto queue = std::make_shared<FaultQueue>();
  return AddQueue(iommufd, queue, "fault queue", &command.out_fault_id, &command.out_fault_fd);
}

}  // namespace fake
