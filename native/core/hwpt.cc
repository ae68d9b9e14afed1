// The ioctls of hardware page tables.
#include "core/hwpt.h"

namespace core {

std::shared_ptr<Hwpt> Hwpt::Allocate(const std::shared_ptr<const IommufdObject>& parent, const Request& request,
                                     Parents also) {
  const auto& iommufd = parent->iommufd();
  const auto command = iommufd->Call(
      VFIO_DMABUF_REQUEST(IOMMU_HWPT_ALLOC),
      uapi::iommu_hwpt_alloc{.flags = request.flags | (request.fault_queue ? uapi::IOMMU_HWPT_FAULT_ID_VALID : 0),
                             .dev_id = request.device,
                             .pt_id = parent->id(),
                             .data_type = request.data_type,
                             .data_len = static_cast<uint32_t>(request.data.size()),
                             .data_uptr = reinterpret_cast<uintptr_t>(request.data.data()),
                             .fault_id = request.fault_queue.value_or(0)});
  also.push_back(parent);
  return std::shared_ptr<Hwpt>(new Hwpt(iommufd, command.out_hwpt_id, std::move(also)));
}

void Hwpt::SetDirtyTracking(bool enable) const {
  iommufd()->Call(VFIO_DMABUF_REQUEST(IOMMU_HWPT_SET_DIRTY_TRACKING),
                  uapi::iommu_hwpt_set_dirty_tracking{.flags = enable ? uapi::IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0,
                                                      .hwpt_id = id()});
}

void Hwpt::GetDirtyBitmap(uint64_t iova, uint64_t length, uint64_t page_size, bool keep, void* bitmap) const {
  iommufd()->Call(VFIO_DMABUF_REQUEST(IOMMU_HWPT_GET_DIRTY_BITMAP),
                  uapi::iommu_hwpt_get_dirty_bitmap{.hwpt_id = id(),
                                                    .flags = keep ? uapi::IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR : 0,
                                                    .iova = iova,
                                                    .length = length,
                                                    .page_size = page_size,
                                                    .data = reinterpret_cast<uintptr_t>(bitmap)});
}

uint32_t Invalidate(const IommufdObject& of, uint32_t type, uint32_t entry_length, const std::vector<uint8_t>& entries,
                    int* error) {
  uapi::iommu_hwpt_invalidate command = {
      .size = sizeof(command),
      .hwpt_id = of.id(),
      .data_uptr = reinterpret_cast<uintptr_t>(entries.data()),
      .data_type = type,
      .entry_len = entry_length,
      .entry_num = entry_length == 0 ? 0 : static_cast<uint32_t>(entries.size() / entry_length),
  };
  *error = of.iommufd()->Ask(VFIO_DMABUF_REQUEST(IOMMU_HWPT_INVALIDATE), &command);
  return command.entry_num;
}

HwInfo GetHwInfo(const Fd& iommufd, uint32_t device, std::optional<uint32_t> type) {
  std::vector<uint8_t> data(64);
  for (;;) {
    uapi::iommu_hw_info command = {
        .size = sizeof(command),
        .flags = type ? uapi::IOMMU_HW_INFO_FLAG_INPUT_TYPE : 0,
        .dev_id = device,
        .data_len = static_cast<uint32_t>(data.size()),
        .data_uptr = reinterpret_cast<uintptr_t>(data.data()),
    };
    command.in_data_type = type.value_or(uapi::IOMMU_HW_INFO_TYPE_DEFAULT);
    iommufd.Ioctl(VFIO_DMABUF_REQUEST(IOMMU_GET_HW_INFO), &command);
    const bool fits = command.data_len <= data.size();
    data.resize(command.data_len);
    if (fits) return {command.out_data_type, std::move(data), command.out_capabilities, command.out_max_pasid_log2};
  }
}

}  // namespace core
