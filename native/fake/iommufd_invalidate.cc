// What an IOMMU is made to forget. The rules are those of iommufd_hwpt_invalidate() and, of the mock device's,
// mock_domain_cache_invalidate_user().
#include <algorithm>
#include <cstring>

#include "fake/iommufd_commands.h"
#include "fake/iommufd_hwpt.h"

namespace fake {
namespace {

constexpr uint32_t kLongestEntry = 4096;
constexpr uint32_t kMostEntries = 1U << 19;

// Each returns how many entries were heeded; `*result` is the errno of the next.
uint32_t InvalidateNested(NestedHwpt& hwpt, const uapi::iommu_hwpt_invalidate& command, int* result) {
  uapi::iommu_hwpt_invalidate_selftest entry = {};
  *result = -EINVAL;
  if (command.data_type != uapi::IOMMU_HWPT_INVALIDATE_DATA_SELFTEST) return 0;
  for (uint32_t i = 0; i < command.entry_num; ++i) {
    if (command.entry_len != sizeof(entry)) return i;
    std::memcpy(&entry, reinterpret_cast<const uint8_t*>(command.data_uptr) + i * sizeof(entry), sizeof(entry));
    *result = (entry.flags & ~uapi::IOMMU_TEST_INVALIDATE_FLAG_ALL) != 0 ? -EOPNOTSUPP : -EINVAL;
    if (*result == -EOPNOTSUPP || entry.iotlb_id >= hwpt.tlb.size()) return i;
    if ((entry.flags & uapi::IOMMU_TEST_INVALIDATE_FLAG_ALL) != 0) {
      hwpt.tlb.fill(0);
    } else {
      hwpt.tlb.at(entry.iotlb_id) = 0;
    }
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
  const auto nested = iommufd.Find<NestedHwpt>(command.hwpt_id);
  if (!nested) return -EINVAL;
  int result = 0;
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
