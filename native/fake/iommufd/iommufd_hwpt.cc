// The commands of HWPTs. The rules are those of drivers/iommu/iommufd/hw_pagetable.c.
#include "fake/iommufd/iommufd_hwpt.h"

#include <bit>

#include "fake/files/user_memory.h"
#include "fake/iommufd/iommufd_commands.h"
#include "fake/iommufd/iommufd_device.h"
#include "fake/iommufd/iommufd_viommu.h"

namespace fake {
namespace {

int AllocatePaging(Iommufd& iommufd, const IommufdDevice& device, std::shared_ptr<Ioas> ioas, uint32_t flags,
                   const DriverData& data, std::shared_ptr<Hwpt>* out) {
  std::shared_ptr<PagingHwpt> hwpt;
  int result = MakePagingHwpt(device.iommu(), std::move(ioas), flags, data.length == 0 ? nullptr : &data, &hwpt);
  if (result != 0) return result;
  iommufd.Add(hwpt);
  result = hwpt->Fill();
  if (result != 0) {
    iommufd.Remove(hwpt->id);
    return result;
  }
  *out = std::move(hwpt);
  return 0;
}

// iommufd_hwpt_nested_alloc()
int AllocateNested(Iommufd& iommufd, const IommufdDevice& device, std::shared_ptr<PagingHwpt> parent,
                   std::shared_ptr<Viommu> viommu, uint32_t flags, const DriverData& data, std::shared_ptr<Hwpt>* out) {
  constexpr uint32_t kKnown = uapi::IOMMU_HWPT_FAULT_ID_VALID | uapi::IOMMU_HWPT_ALLOC_PASID;
  if ((flags & ~kKnown) != 0 || data.length == 0) return -EOPNOTSUPP;
  const bool nests = !parent->automatic && parent->nest_parent && parent->Hwpt::Fits(device.iommu());
  if (!viommu && !nests) return -EINVAL;
  MockTlb tlb = {};
  const int made = device.iommu().AllocateNested(flags & ~uapi::IOMMU_HWPT_FAULT_ID_VALID, data, &tlb);
  if (made != 0) return made;
  auto nested = std::make_shared<NestedHwpt>(device.iommu(), std::move(parent), flags, tlb);
  nested->viommu = Use<IommufdObject>(std::move(viommu));
  *out = std::move(nested);
  iommufd.Add(*out);
  return 0;
}

// iommufd_check_iova_range()
int CheckDirtyRange(const uapi::iommu_hwpt_get_dirty_bitmap& command, uint64_t alignment) {
  if (command.length == 0) return -EINVAL;
  const uint64_t last = command.iova + (command.length - 1);
  if (last < command.iova) return -EOVERFLOW;
  const uint64_t edges = command.iova | (last + 1);
  const bool fits = edges % alignment == 0 && command.page_size != 0 && (edges & (command.page_size - 1)) == 0;
  return fits ? 0 : -EINVAL;
}

}  // namespace

PagingHwpt::~PagingHwpt() { ioas_->space.RemoveDomain(this); }

int PagingHwpt::Fill() { return ioas_->space.AddDomain(this, table_.aperture); }

int MakePagingHwpt(const Iommu& iommu, std::shared_ptr<Ioas> ioas, uint32_t flags, const DriverData* data,
                   std::shared_ptr<PagingHwpt>* out) {
  constexpr uint32_t kKnown = uapi::IOMMU_HWPT_ALLOC_NEST_PARENT | uapi::IOMMU_HWPT_ALLOC_DIRTY_TRACKING |
                              uapi::IOMMU_HWPT_FAULT_ID_VALID | uapi::IOMMU_HWPT_ALLOC_PASID;
  constexpr uint32_t kFaultingParent = uapi::IOMMU_HWPT_FAULT_ID_VALID | uapi::IOMMU_HWPT_ALLOC_NEST_PARENT;
  const bool tracks = (flags & uapi::IOMMU_HWPT_ALLOC_DIRTY_TRACKING) != 0;
  if ((flags & ~kKnown) != 0 || (tracks && !iommu.tracks_dirty()) || (flags & kFaultingParent) == kFaultingParent) {
    return -EOPNOTSUPP;
  }
  PageTable table;
  const int made = iommu.AllocatePaging(flags & ~uapi::IOMMU_HWPT_FAULT_ID_VALID, data, &table);
  if (made == 0) *out = std::make_shared<PagingHwpt>(iommu, std::move(ioas), flags, table);
  return made;
}

int HwptAllocate(Iommufd& iommufd, uapi::iommu_hwpt_alloc& command) {
  if (command.__reserved != 0) return -EOPNOTSUPP;
  if ((command.data_type == uapi::IOMMU_HWPT_DATA_NONE) != (command.data_len == 0)) return -EINVAL;
  const auto device = iommufd.Find<IommufdDevice>(command.dev_id);
  if (!device) return -ENOENT;
  const DriverData data = {command.data_type, reinterpret_cast<const void*>(command.data_uptr), command.data_len};
  std::shared_ptr<Hwpt> hwpt;
  int result = -EINVAL;
  if (auto ioas = iommufd.Find<Ioas>(command.pt_id)) {
    result = AllocatePaging(iommufd, *device, std::move(ioas), command.flags, data, &hwpt);
  } else if (auto parent = iommufd.Find<PagingHwpt>(command.pt_id)) {
    result = AllocateNested(iommufd, *device, std::move(parent), nullptr, command.flags, data, &hwpt);
  } else if (auto viommu = iommufd.Find<Viommu>(command.pt_id); viommu && viommu->Fits(device->iommu())) {
    result = AllocateNested(iommufd, *device, viommu->parent(), viommu, command.flags, data, &hwpt);
  }
  if (result != 0) return result;
  if ((command.flags & uapi::IOMMU_HWPT_FAULT_ID_VALID) != 0) {
    auto faults = iommufd.Find<FaultQueue>(command.fault_id);
    if (!faults) {
      iommufd.Remove(hwpt->id);
      return -ENOENT;
    }
    hwpt->faults = Use(std::move(faults));
  }
  command.out_hwpt_id = hwpt->id;
  return 0;
}

int HwptSetDirtyTracking(Iommufd& iommufd, uapi::iommu_hwpt_set_dirty_tracking& command) {
  if ((command.flags & ~uapi::IOMMU_HWPT_DIRTY_TRACKING_ENABLE) != 0) return -EOPNOTSUPP;
  const auto hwpt = iommufd.Find<PagingHwpt>(command.hwpt_id);
  if (!hwpt) return -ENOENT;
  if (!hwpt->table().dirty_tracking) return -EOPNOTSUPP;
  hwpt->dirty_tracking = (command.flags & uapi::IOMMU_HWPT_DIRTY_TRACKING_ENABLE) != 0;
  if (hwpt->dirty_tracking) hwpt->ioas().space.ClearDirty(hwpt.get());
  return 0;
}

int HwptGetDirtyBitmap(Iommufd& iommufd, uapi::iommu_hwpt_get_dirty_bitmap& command) {
  if ((command.flags & ~uapi::IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR) != 0 || command.__reserved != 0) {
    return -EOPNOTSUPP;
  }
  const auto hwpt = iommufd.Find<PagingHwpt>(command.hwpt_id);
  if (!hwpt) return -ENOENT;
  auto& space = hwpt->ioas().space;
  if (const int bad = CheckDirtyRange(command, space.alignment()); bad != 0) return bad;
  if (!hwpt->table().dirty_tracking) return -EOPNOTSUPP;
  UserBitmap bitmap(command.data);
  const int shift = std::countr_zero(command.page_size);
  const bool clear = (command.flags & uapi::IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR) == 0;
  const uint64_t last = command.iova + (command.length - 1);
  for (const auto& [start, end] : space.ReadDirty(hwpt.get(), command.iova, last, clear)) {
    if (!bitmap.Set((start - command.iova) >> shift, (end - command.iova) >> shift)) return -EFAULT;
  }
  return 0;
}

}  // namespace fake
