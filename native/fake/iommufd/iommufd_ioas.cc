// The commands of IOASes. The rules are those of drivers/iommu/iommufd/ioas.c.
#include "fake/iommufd/iommufd_ioas.h"

#include <fcntl.h>

#include <algorithm>

#include "fake/dma_buf/dma_buf.h"
#include "fake/files/user_memory.h"
#include "fake/iommu/bar_mappings.h"
#include "fake/iommufd/iommufd_commands.h"

namespace fake {
namespace {

constexpr uint32_t kAccess = uapi::IOMMU_IOAS_MAP_READABLE | uapi::IOMMU_IOAS_MAP_WRITEABLE;

// The checks that IOMMU_IOAS_MAP and _MAP_FILE begin with.
template <typename Command>
int CheckMap(const Command& command) {
  if ((command.flags & ~(kAccess | uapi::IOMMU_IOAS_MAP_FIXED_IOVA)) != 0) return -EOPNOTSUPP;
  if (command.iova == ~uint64_t{0} || command.length == ~uint64_t{0}) return -EOVERFLOW;
  return (command.flags & kAccess) == 0 ? -EINVAL : 0;
}

// `offset` is where the mapping begins in `pages`. An IOVA that the kernel chooses has the alignment of `hint`.
template <typename Command>
int MapPages(Ioas& ioas, Command& command, const std::shared_ptr<Pages>& pages, uint64_t offset, uint64_t hint) {
  const IoAddressSpace::Piece piece = {.pages = pages,
                                       .offset = offset,
                                       .alignment_hint = hint,
                                       .length = command.length,
                                       .writable = (command.flags & uapi::IOMMU_IOAS_MAP_WRITEABLE) != 0};
  return ioas.space.Map({piece}, command.flags, &command.iova);
}

}  // namespace

int IoasAllocate(Iommufd& iommufd, uapi::iommu_ioas_alloc& command) {
  if (command.flags != 0) return -EOPNOTSUPP;
  command.out_ioas_id = iommufd.Add(std::make_shared<Ioas>());
  return 0;
}

int IoasIovaRanges(Iommufd& iommufd, uapi::iommu_ioas_iova_ranges& command) {
  if (command.__reserved != 0) return -EOPNOTSUPP;
  const auto ioas = iommufd.Find<Ioas>(command.ioas_id);
  if (!ioas) return -ENOENT;
  const auto ranges = ioas->space.Ranges();
  const auto room = std::min<std::size_t>(command.num_iovas, ranges.size());
  if (!CopyToUser(WritableUserPointer(command.allowed_iovas), ranges.data(), room * sizeof(ranges[0]))) return -EFAULT;
  const bool fits = command.num_iovas >= ranges.size();
  command.num_iovas = static_cast<uint32_t>(ranges.size());
  command.out_iova_alignment = ioas->space.alignment();
  return fits ? 0 : -EMSGSIZE;
}

int IoasMap(Iommufd& iommufd, uapi::iommu_ioas_map& command) {
  if (const int bad = command.__reserved != 0 ? -EOPNOTSUPP : CheckMap(command); bad != 0) return bad;
  const auto ioas = iommufd.Find<Ioas>(command.ioas_id);
  if (!ioas) return -ENOENT;
  return MapUserPages(iommufd, *ioas, command.user_va, command.length, command.flags, &command.iova);
}

// A mapped BAR has no pages that can be pinned.
int MapUserPages(Iommufd& iommufd, Ioas& ioas, uint64_t address, uint64_t length, uint32_t flags, uint64_t* iova) {
  if (address + length < address) return -EOVERFLOW;
  if (length == 0) return -EINVAL;
  const bool bar = iommufd.table().bar_mappings().Touches(address, length);
  const IoAddressSpace::Piece piece = {.pages = bar ? NoPages() : UserPages(address, length),
                                       .offset = 0,
                                       .alignment_hint = address,
                                       .length = length,
                                       .writable = (flags & uapi::IOMMU_IOAS_MAP_WRITEABLE) != 0};
  return ioas.space.Map({piece}, flags, iova);
}

int IoasMapFile(Iommufd& iommufd, uapi::iommu_ioas_map_file& command) {
  if (const int bad = CheckMap(command); bad != 0) return bad;
  const auto ioas = iommufd.Find<Ioas>(command.ioas_id);
  if (!ioas) return -ENOENT;
  if (command.length == 0) return -EINVAL;
  if (command.start + (command.length - 1) < command.start) return -EOVERFLOW;
  std::shared_ptr<Pages> pages;
  const auto file = iommufd.table().Find(command.fd);
  if (const auto buffer = std::dynamic_pointer_cast<DmaBuf>(file)) {
    if (buffer->size() <= command.start + (command.length - 1)) return -EINVAL;
    if (const int imported = buffer->Import(&pages); imported != 0) return imported;
  } else {
    if (fcntl(command.fd, F_GETFD) < 0) return -EBADF;
    pages = FilePages(command.fd);
    if (!pages) return -ENOMEM;
  }
  return MapPages(*ioas, command, pages, command.start, command.start);
}

int IoasCopy(Iommufd& iommufd, uapi::iommu_ioas_copy& command) {
  if ((command.flags & ~(kAccess | uapi::IOMMU_IOAS_MAP_FIXED_IOVA)) != 0) return -EOPNOTSUPP;
  constexpr uint64_t kTooMuch = ~uint64_t{0};
  if (command.length == kTooMuch || command.src_iova == kTooMuch || command.dst_iova == kTooMuch) return -EOVERFLOW;
  if ((command.flags & kAccess) == 0) return -EINVAL;
  const auto source = iommufd.Find<Ioas>(command.src_ioas_id);
  if (!source) return -ENOENT;
  std::vector<IoAddressSpace::Piece> pieces;
  if (const int found = source->space.Find(command.src_iova, command.length, &pieces); found != 0) return found;
  const auto destination = iommufd.Find<Ioas>(command.dst_ioas_id);
  return destination ? destination->space.Map(pieces, command.flags, &command.dst_iova) : -ENOENT;
}

int IoasUnmap(Iommufd& iommufd, uapi::iommu_ioas_unmap& command) {
  const auto ioas = iommufd.Find<Ioas>(command.ioas_id);
  if (!ioas) return -ENOENT;
  uint64_t unmapped = 0;
  const int result = ioas->space.Unmap(command.iova, command.length, &unmapped);
  if (result == 0) command.length = unmapped;
  return result;
}

int IoasAllowIovas(Iommufd& iommufd, uapi::iommu_ioas_allow_iovas& command) {
  if (command.__reserved != 0) return -EOPNOTSUPP;
  const auto ioas = iommufd.Find<Ioas>(command.ioas_id);
  if (!ioas) return -ENOENT;
  // iommufd_ioas_load_iovas() copies one after the other, until one is bad.
  std::vector<uapi::iommu_iova_range> ranges;
  for (uint64_t i = 0; i < command.num_iovas; ++i) {
    uapi::iommu_iova_range range = {};
    if (!CopyFromUser(&range, UserPointer(command.allowed_iovas + i * sizeof(range)), sizeof(range))) return -EFAULT;
    if (range.start >= range.last) return -EINVAL;
    ranges.push_back(range);
  }
  return ioas->space.Allow(std::move(ranges));
}

// The owner of pinned memory is not modelled: the fake kernel has no limit of locked memory.
int IoasChangeProcess(Iommufd& iommufd, uapi::iommu_ioas_change_process& command) {
  if (command.__reserved != 0) return -EOPNOTSUPP;
  for (const auto& [_, object] : iommufd.objects()) {
    const auto* ioas = dynamic_cast<const Ioas*>(object.get());
    if (ioas && !ioas->space.OnlyFiles()) return -EINVAL;
  }
  return 0;
}

// As a kernel without CONFIG_VFIO_NOIOMMU.
int IoasNoIommuGetPhysical(Iommufd&, uapi::iommu_ioas_noiommu_get_pa&) { return -EOPNOTSUPP; }

}  // namespace fake
