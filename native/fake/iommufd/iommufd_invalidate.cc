// Invalidation of an IOMMU's caches. The rules are those of iommufd_hwpt_invalidate() and, of the mock device's,
// mock_domain_cache_invalidate_user().
#include <algorithm>
#include <cstring>

#include "fake/files/user_memory.h"
#include "fake/iommufd/iommufd_commands.h"
#include "fake/iommufd/iommufd_viommu.h"
#include "fake/iommufd/mock_device.h"

namespace fake {
namespace {

constexpr uint32_t kLongestEntry = 4096;
constexpr uint32_t kMostEntries = 1U << 19;

template <typename Cache>
void Clear(Cache& cache, uint32_t flags, uint32_t index) {
  if ((flags & uapi::IOMMU_TEST_INVALIDATE_FLAG_ALL) != 0) {
    cache.fill(0);
  } else {
    cache.at(index) = 0;
  }
}

// Each returns the number of entries executed; `*result` is the errno of the next.
uint32_t InvalidateNested(NestedHwpt& hwpt, const uapi::iommu_hwpt_invalidate& command, int* result) {
  uapi::iommu_hwpt_invalidate_selftest entry = {};
  *result = -EINVAL;
  if (command.data_type != uapi::IOMMU_HWPT_INVALIDATE_DATA_SELFTEST) return 0;
  for (uint32_t i = 0; i < command.entry_num; ++i) {
    if (command.entry_len != sizeof(entry)) return i;
    *result = -EFAULT;
    if (!CopyFromUser(&entry, UserPointer(command.data_uptr + i * sizeof(entry)), sizeof(entry))) return i;
    *result = (entry.flags & ~uapi::IOMMU_TEST_INVALIDATE_FLAG_ALL) != 0 ? -EOPNOTSUPP : -EINVAL;
    if (*result == -EOPNOTSUPP || entry.iotlb_id >= hwpt.tlb.size()) return i;
    Clear(hwpt.tlb, entry.flags, entry.iotlb_id);
  }
  *result = 0;
  return command.entry_num;
}

// mock_viommu_cache_invalidate(): all entries are read before the first is executed.
uint32_t InvalidateMocks(const Iommufd& iommufd, const Viommu& viommu, const uapi::iommu_hwpt_invalidate& command,
                         int* result) {
  using Entry = uapi::iommu_viommu_invalidate_selftest;
  *result = -EINVAL;
  if (command.data_type != uapi::IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST) return 0;
  std::vector<Entry> entries(command.entry_num);
  uint64_t at = command.data_uptr;
  for (auto& entry : entries) {
    const std::size_t known = std::min<std::size_t>(command.entry_len, sizeof(entry));
    const auto bytes = CopyArrayFromUser<uint8_t>(UserPointer(at), command.entry_len);
    *result = -EFAULT;
    if (!bytes) return 0;
    std::memcpy(&entry, bytes->data(), known);
    const auto is_set = [](uint8_t byte) { return byte != 0; };
    *result = std::any_of(bytes->begin() + static_cast<std::ptrdiff_t>(known), bytes->end(), is_set) ? -E2BIG : 0;
    if (*result != 0) return 0;
    at += command.entry_len;
  }
  for (uint32_t i = 0; i < entries.size(); ++i) {
    const Entry& entry = entries.at(i);
    *result = (entry.flags & ~uapi::IOMMU_TEST_INVALIDATE_FLAG_ALL) != 0 ? -EOPNOTSUPP : -EINVAL;
    const auto named = viommu.devices.find(entry.vdev_id);
    if (*result == -EOPNOTSUPP || entry.cache_id > 3 || named == viommu.devices.end()) return i;
    auto& cache = MockDevice::Of(iommufd, named->second->id)->cache;
    Clear(cache, entry.flags, entry.cache_id);
  }
  *result = 0;
  return command.entry_num;
}

int Invalidate(Iommufd& iommufd, uapi::iommu_hwpt_invalidate& command, uint32_t* heeded) {
  if (command.__reserved != 0) return -EOPNOTSUPP;
  const bool sized = command.data_uptr != 0 && command.entry_len != 0 && command.entry_len <= kLongestEntry &&
                     command.entry_num <= kMostEntries;
  if (command.entry_num != 0 && !sized) return -EINVAL;
  if (!iommufd.Find<IommufdObject>(command.hwpt_id)) return -ENOENT;
  int result = 0;
  if (const auto viommu = iommufd.Find<Viommu>(command.hwpt_id)) {
    *heeded = InvalidateMocks(iommufd, *viommu, command, &result);
    return result;
  }
  const auto nested = iommufd.Find<NestedHwpt>(command.hwpt_id);
  if (!nested) return -EINVAL;
  *heeded = InvalidateNested(*nested, command, &result);
  return result;
}

}  // namespace

int HwptInvalidate(Iommufd& iommufd, uapi::iommu_hwpt_invalidate& command) {
  uint32_t heeded = 0;
  const int result = Invalidate(iommufd, command, &heeded);
  command.entry_num = heeded;
  return result;
}

}  // namespace fake
