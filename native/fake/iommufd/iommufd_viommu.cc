// Virtual IOMMUs, vDEVICEs, hardware queues and event queues.
#include "fake/iommufd/iommufd_viommu.h"

#include <algorithm>
#include <cstring>

#include "fake/files/user_memory.h"
#include "fake/iommufd/event_file.h"
#include "fake/iommufd/iommufd_commands.h"
#include "fake/iommufd/iommufd_device.h"
#include "kernel/page_size.h"

namespace fake {
namespace {

constexpr uint32_t kDeepest = 1U << 19;
constexpr uint32_t kLastSequence = 0x7fffffff;

// mock_viommu_init(): the mock IOMMU returns the number it is given.
int Answer(const uapi::iommu_viommu_alloc& command) {
  if (command.data_len == 0) return 0;
  if (command.data_len < offsetof(uapi::iommu_viommu_selftest, out_mmap_offset)) return -EINVAL;
  uapi::iommu_viommu_selftest data = {};
  const DriverData given = {command.type, reinterpret_cast<const void*>(command.data_uptr), command.data_len};
  if (const int bad = given.CopyTo(&data, offsetof(uapi::iommu_viommu_selftest, out_mmap_offset)); bad != 0) return bad;
  data.out_data = data.in_data;
  data.out_mmap_length = 2 * kernel::PageSize();
  data.out_mmap_offset = kernel::PageSize();
  const auto size = std::min<std::size_t>(command.data_len, sizeof(data));
  return CopyToUser(WritableUserPointer(command.data_uptr), &data, size) ? 0 : -EFAULT;
}

constexpr uint32_t kHwQueues = 2;
const uint64_t kPageSize = kernel::PageSize();

// The kernel's access to the pages of hardware queues.
class KernelAccess : public IoAddressSpace::Accessor {
  uint64_t alignment() const override { return kPageSize; }
};
KernelAccess kernel_access;

int CheckIndex(const Viommu& viommu, uint32_t index) {
  if (index >= kHwQueues) return -EINVAL;
  if (viommu.hw_queues.contains(index)) return -EEXIST;
  return index > 0 && !viommu.hw_queues.contains(index - 1) ? -EIO : 0;
}

}  // namespace

std::optional<uint64_t> Viommu::FindId(const IommufdDevice& device) const {
  const auto found = std::ranges::find_if(devices, [&](const auto& entry) { return entry.second == &device; });
  if (found == devices.end()) return std::nullopt;
  return found->first;
}

int Viommu::Tell(uint32_t type, const void* data, std::size_t length) {
  const auto queue = queues.find(type);
  if (queue == queues.end()) return -EOPNOTSUPP;
  queue->second->Add(data, length);
  return 0;
}

HwQueue::HwQueue(std::shared_ptr<Viommu> viommu, uint32_t index, uint64_t first, uint64_t last)
    : viommu_(std::move(viommu)), index_(index), first_(first), last_(last) {
  if (index > 0) before_ = Use<HwQueue>(viommu_->hw_queues.at(index - 1).lock());
}

void HwQueue::Leave(Iommufd&) {
  auto& space = viommu_->parent()->ioas().space;
  space.Unlock(first_, last_);
  space.RemoveAccess(&kernel_access);
  viommu_->hw_queues.erase(index_);
}

Vdevice::Vdevice(std::shared_ptr<Viommu> viommu, const std::shared_ptr<IommufdDevice>& device, uint64_t virtual_id)
    : viommu_(std::move(viommu)), device_(device), virtual_id_(virtual_id) {
  viommu_->devices.emplace(virtual_id, device.get());
}

void Vdevice::Leave(Iommufd&) {
  viommu_->devices.erase(virtual_id_);
  if (const auto device = device_.lock()) device->vdevice = 0;
}

VeventQueue::VeventQueue(std::shared_ptr<Viommu> viommu, uint32_t type, uint32_t depth)
    : viommu_(std::move(viommu)), type_(type), depth_(depth) {
  viommu_->queues.emplace(type, this);
}

void VeventQueue::Leave(Iommufd&) { viommu_->queues.erase(type_); }

// iommufd_vevent_handler()
void VeventQueue::Add(const void* data, std::size_t length) {
  lost_.reset();
  if (events_.size() == depth_) {
    lost_ = sequence_;
  } else {
    const auto* bytes = static_cast<const uint8_t*>(data);
    events_.push_back({sequence_, {bytes, bytes + length}});
  }
  sequence_ = (sequence_ + 1) & kLastSequence;
  readiness.Set(true);
}

int64_t VeventQueue::Read(void* buffer, std::size_t size) {
  uapi::iommufd_vevent_header header = {};
  if (size < sizeof(header)) return -EINVAL;
  auto* out = static_cast<uint8_t*>(buffer);
  std::size_t done = 0;
  while (!events_.empty()) {
    const auto& [sequence, data] = events_.front();
    if (sizeof(header) + data.size() > size - done) return done == 0 ? -EINVAL : static_cast<int64_t>(done);
    header = {.flags = 0, .sequence = sequence};
    std::memcpy(out + done, &header, sizeof(header));
    std::memcpy(out + done + sizeof(header), data.data(), data.size());
    done += sizeof(header) + data.size();
    events_.pop_front();
  }
  if (lost_ && sizeof(header) <= size - done) {
    header = {.flags = uapi::IOMMU_VEVENTQ_FLAG_LOST_EVENTS, .sequence = *lost_};
    std::memcpy(out + done, &header, sizeof(header));
    done += sizeof(header);
    lost_.reset();
  }
  readiness.Set(waiting());
  return static_cast<int64_t>(done);
}

int ViommuAllocate(Iommufd& iommufd, uapi::iommu_viommu_alloc& command) {
  if (command.flags != 0 || command.type == uapi::IOMMU_VIOMMU_TYPE_DEFAULT) return -EOPNOTSUPP;
  const auto device = iommufd.Find<IommufdDevice>(command.dev_id);
  if (!device) return -ENOENT;
  if (!device->iommu().has_viommu(command.type)) return -EOPNOTSUPP;
  auto parent = iommufd.Find<PagingHwpt>(command.hwpt_id);
  if (!parent) return -ENOENT;
  if (!parent->nest_parent) return -EINVAL;
  if (const int answered = Answer(command); answered != 0) return answered;
  command.out_viommu_id = iommufd.Add(std::make_shared<Viommu>(device->iommu(), std::move(parent)));
  return 0;
}

int VdeviceAllocate(Iommufd& iommufd, uapi::iommu_vdevice_alloc& command) {
  const auto viommu = iommufd.Find<Viommu>(command.viommu_id);
  const auto device = iommufd.Find<IommufdDevice>(command.dev_id);
  if (!viommu || !device) return -ENOENT;
  if (!viommu->Fits(device->iommu())) return -EINVAL;
  if (device->vdevice != 0 || viommu->devices.contains(command.virt_id)) return -EEXIST;
  device->vdevice = iommufd.Add(std::make_shared<Vdevice>(viommu, device, command.virt_id));
  command.out_vdevice_id = device->vdevice;
  return 0;
}

// iommufd_hw_queue_alloc_ioctl(), mock_hw_queue_init_phys()
int HwQueueAllocate(Iommufd& iommufd, uapi::iommu_hw_queue_alloc& command) {
  if (command.flags != 0 || command.type == uapi::IOMMU_HW_QUEUE_TYPE_DEFAULT) return -EOPNOTSUPP;
  if (command.length == 0) return -EINVAL;
  const uint64_t last = command.nesting_parent_iova + (command.length - 1);
  if (last < command.nesting_parent_iova) return -EOVERFLOW;
  const auto viommu = iommufd.Find<Viommu>(command.viommu_id);
  if (!viommu) return -ENOENT;
  if (command.type != uapi::IOMMU_HW_QUEUE_TYPE_SELFTEST) return -EOPNOTSUPP;
  auto& space = viommu->parent()->ioas().space;
  const uint64_t first = command.nesting_parent_iova & ~(kPageSize - 1);
  if (const int refused = space.AddAccess(&kernel_access); refused != 0) return refused;
  int refused = space.Lock(first, last | (kPageSize - 1));
  if (refused == 0) {
    refused = CheckIndex(*viommu, command.index);
    if (refused != 0) space.Unlock(first, last | (kPageSize - 1));
  }
  if (refused != 0) {
    space.RemoveAccess(&kernel_access);
    return refused;
  }
  const auto queue = std::make_shared<HwQueue>(viommu, command.index, first, last | (kPageSize - 1));
  viommu->hw_queues[command.index] = queue;
  command.out_hw_queue_id = iommufd.Add(queue);
  return 0;
}

int VeventQueueAllocate(Iommufd& iommufd, uapi::iommu_veventq_alloc& command) {
  if (command.flags != 0 || command.__reserved != 0 || command.type == uapi::IOMMU_VEVENTQ_TYPE_DEFAULT) {
    return -EOPNOTSUPP;
  }
  if (command.veventq_depth == 0 || command.veventq_depth > kDeepest) return -EINVAL;
  const auto viommu = iommufd.Find<Viommu>(command.viommu_id);
  if (!viommu) return -ENOENT;
  if (viommu->queues.contains(command.type)) return -EEXIST;
  const auto queue = std::make_shared<VeventQueue>(viommu, command.type, command.veventq_depth);
  return AddQueue(iommufd, queue, "event queue", &command.out_veventq_id, &command.out_veventq_fd);
}

}  // namespace fake
