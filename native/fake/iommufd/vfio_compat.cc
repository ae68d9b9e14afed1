// VFIO's container ioctls on an iommufd, on the IOAS that IOMMU_VFIO_IOAS sets. The rules are those of
// drivers/iommu/iommufd/vfio_compat.c.
#include <algorithm>
#include <cstring>
#include <vector>

#include "fake/files/user_memory.h"
#include "fake/iommufd/iommufd_commands.h"
#include "fake/iommufd/iommufd_ioas.h"
#include "uapi/vfio.h"

namespace fake {
namespace {

// The part of a struct that the kernel copies: up to and with `member`.
#define UP_TO(type, member) (offsetof(type, member) + sizeof(type::member))

constexpr uint32_t kDmaAccess = uapi::VFIO_DMA_MAP_FLAG_READ | uapi::VFIO_DMA_MAP_FLAG_WRITE;

int CheckExtension(Iommufd& iommufd, uint64_t extension) {
  switch (extension) {
    case uapi::VFIO_TYPE1_IOMMU:
    case uapi::VFIO_TYPE1v2_IOMMU:
    case uapi::VFIO_UNMAP_ALL:
      return 1;
    case uapi::VFIO_DMA_CC_IOMMU: {
      const auto ioas = iommufd.Find<Ioas>(iommufd.vfio_ioas);
      if (!ioas) return -ENODEV;
      return ioas->space.has_domains() ? 0 : 1;  // QEMU's IOMMU cannot force snooping
    }
    default:
      return 0;
  }
}

int SetIommu(Iommufd& iommufd, uint64_t type) {
  if (type != uapi::VFIO_TYPE1_IOMMU && type != uapi::VFIO_TYPE1v2_IOMMU) return -EINVAL;
  const auto ioas = iommufd.Find<Ioas>(iommufd.vfio_ioas);
  if (!ioas) return -ENODEV;
  return type == uapi::VFIO_TYPE1_IOMMU ? ioas->space.SetHugePages(false) : 0;
}

template <typename T>
void Append(std::vector<uint8_t>& bytes, const T& value) {
  const auto* from = reinterpret_cast<const uint8_t*>(&value);
  bytes.insert(bytes.end(), from, from + sizeof(value));
}

// A part of the ranges is written where the whole capability does not fit.
bool WriteCapability(uint8_t* to, const std::vector<uint8_t>& bytes, uint32_t room) {
  constexpr std::size_t kHead = sizeof(uapi::vfio_iommu_type1_info_cap_iova_range);
  constexpr std::size_t kRange = sizeof(uapi::iommu_iova_range);
  if (room >= bytes.size()) return CopyToUser(to, bytes.data(), bytes.size());
  for (std::size_t at = kHead; at + kRange <= std::min<std::size_t>(bytes.size(), room); at += kRange) {
    if (!CopyToUser(to + at, bytes.data() + at, kRange)) return false;
  }
  return true;
}

// The capabilities, each padded to 8 bytes.
int GetInfo(Iommufd& iommufd, void* argument) {
  constexpr std::size_t kSmallest = UP_TO(uapi::vfio_iommu_type1_info, iova_pgsizes);
  uapi::vfio_iommu_type1_info info = {};
  if (!CopyFromUser(&info, argument, kSmallest)) return -EFAULT;
  if (info.argsz < kSmallest) return -EINVAL;
  const auto ioas = iommufd.Find<Ioas>(iommufd.vfio_ioas);
  if (!ioas) return -ENODEV;
  info.flags = uapi::VFIO_IOMMU_INFO_PGSIZES | uapi::VFIO_IOMMU_INFO_CAPS;
  info.iova_pgsizes = std::max(ioas->space.PageSizes(), ioas->space.alignment());

  std::vector<uint8_t> available;
  Append(available, uapi::vfio_iommu_type1_info_dma_avail{.header = {uapi::VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL, 1, 0},
                                                          .avail = ~uint32_t{0}});
  const auto ranges = ioas->space.Ranges();
  std::vector<uint8_t> iovas;
  Append(iovas, uapi::vfio_iommu_type1_info_cap_iova_range{.header = {uapi::VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, 1, 0},
                                                           .nr_iovas = static_cast<uint32_t>(ranges.size()),
                                                           .reserved = 0});
  for (const auto& range : ranges) Append(iovas, range);

  auto* const start = static_cast<uint8_t*>(argument);
  uint32_t total = sizeof(info);
  uint8_t* last = nullptr;
  for (const auto& capability : {available, iovas}) {
    const uint32_t room = info.argsz > total ? info.argsz - total : 0;
    if (!WriteCapability(start + total, capability, room)) return -EFAULT;
    uint8_t* const next = last ? last + offsetof(uapi::vfio_info_cap_header, next) : nullptr;
    if (next && info.argsz >= total && !CopyToUser(next, &total, sizeof(total))) return -EFAULT;
    last = start + total;
    total += static_cast<uint32_t>((capability.size() + 7) / 8 * 8);
  }
  const std::size_t size = std::min<std::size_t>(info.argsz, sizeof(info));
  info.cap_offset = info.argsz >= total ? sizeof(info) : 0;
  info.argsz = total;
  return CopyToUser(argument, &info, size) ? 0 : -EFAULT;
}

int MapDma(Iommufd& iommufd, const void* argument) {
  uapi::vfio_iommu_type1_dma_map map = {};
  if (!CopyFromUser(&map, argument, sizeof(map))) return -EFAULT;
  if (map.argsz < sizeof(map) || (map.flags & ~kDmaAccess) != 0) return -EINVAL;
  const auto ioas = iommufd.Find<Ioas>(iommufd.vfio_ioas);
  if (!ioas) return -ENODEV;
  const bool reads = (map.flags & uapi::VFIO_DMA_MAP_FLAG_READ) != 0;
  const bool writes = (map.flags & uapi::VFIO_DMA_MAP_FLAG_WRITE) != 0;
  const uint32_t flags = (reads ? uapi::IOMMU_IOAS_MAP_READABLE : 0U) | (writes ? uapi::IOMMU_IOAS_MAP_WRITEABLE : 0U);
  return MapUserPages(iommufd, *ioas, map.vaddr, map.size, flags | uapi::IOMMU_IOAS_MAP_FIXED_IOVA, &map.iova);
}

int UnmapDma(Iommufd& iommufd, void* argument) {
  uapi::vfio_iommu_type1_dma_unmap unmap = {};
  if (!CopyFromUser(&unmap, argument, sizeof(unmap))) return -EFAULT;
  if (unmap.argsz < sizeof(unmap) || (unmap.flags & ~uapi::VFIO_DMA_UNMAP_FLAG_ALL) != 0) return -EINVAL;
  const auto ioas = iommufd.Find<Ioas>(iommufd.vfio_ioas);
  if (!ioas) return -ENODEV;
  auto& space = ioas->space;
  int result = 0;
  uint64_t unmapped = 0;
  if ((unmap.flags & uapi::VFIO_DMA_UNMAP_FLAG_ALL) != 0) {
    if (unmap.iova != 0 || unmap.size != 0) return -EINVAL;
    result = space.Unmap(0, ~uint64_t{0}, &unmapped);
  } else {
    if (!space.huge_pages()) {
      result = space.Cut(unmap.iova + unmap.size - 1);
      if (result == 0 && unmap.iova != 0) result = space.Cut(unmap.iova - 1);
      if (result != 0) return result;
    }
    result = space.UnmapRange(unmap.iova, unmap.size, &unmapped);
  }
  unmap.size = unmapped;
  return CopyToUser(argument, &unmap, sizeof(unmap)) ? result : -EFAULT;
}

}  // namespace

int VfioCompat(Iommufd& iommufd, uapi::request_t request, void* argument) {
  switch (request) {
    case uapi::VFIO_GET_API_VERSION:
      return uapi::VFIO_API_VERSION;
    case uapi::VFIO_CHECK_EXTENSION:
      return CheckExtension(iommufd, reinterpret_cast<uintptr_t>(argument));
    case uapi::VFIO_SET_IOMMU:
      return SetIommu(iommufd, reinterpret_cast<uintptr_t>(argument));
    case uapi::VFIO_IOMMU_GET_INFO:
      return GetInfo(iommufd, argument);
    case uapi::VFIO_IOMMU_MAP_DMA:
      return MapDma(iommufd, argument);
    case uapi::VFIO_IOMMU_UNMAP_DMA:
      return UnmapDma(iommufd, argument);
    default:
      return -ENOTTY;
  }
}

}  // namespace fake
