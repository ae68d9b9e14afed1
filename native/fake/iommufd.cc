#include "fake/iommufd.h"

#include <fcntl.h>

#include <algorithm>

#include "fake/dma_buf.h"

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

}  // namespace

int Iommufd::Ioctl(uapi::request_t request, void* argument) {
  // Every command starts with its size; a struct longer than the kernel's must be zero beyond, a shorter one fails.
  const auto dispatch = [&]<typename Command>(int (Iommufd::*handler)(Command&)) {
    auto& command = *static_cast<Command*>(argument);
    return command.size < sizeof(Command) ? -EINVAL : (this->*handler)(command);
  };
  switch (request) {
    case uapi::IOMMU_DESTROY:
      return dispatch(&Iommufd::Destroy);
    case uapi::IOMMU_IOAS_ALLOC:
      return dispatch(&Iommufd::IoasAlloc);
    case uapi::IOMMU_IOAS_IOVA_RANGES:
      return dispatch(&Iommufd::IoasIovaRanges);
    case uapi::IOMMU_IOAS_MAP:
      return dispatch(&Iommufd::IoasMap);
    case uapi::IOMMU_IOAS_MAP_FILE:
      return dispatch(&Iommufd::IoasMapFile);
    case uapi::IOMMU_IOAS_COPY:
      return dispatch(&Iommufd::IoasCopy);
    case uapi::IOMMU_IOAS_UNMAP:
      return dispatch(&Iommufd::IoasUnmap);
    default:
      return -ENOTTY;
  }
}

// The kernel hands out the lowest free number from 1.
uint32_t Iommufd::Add(Object object) {
  uint32_t id = 1;
  for (const auto& [taken, _] : objects_) {
    if (taken != id) break;
    ++id;
  }
  objects_.emplace(id, std::move(object));
  return id;
}

template <typename T>
T* Iommufd::Find(uint32_t id) {
  const auto found = objects_.find(id);
  return found == objects_.end() ? nullptr : std::get_if<T>(&found->second);
}

uint32_t Iommufd::HwptOf(uint32_t ioas) const {
  for (const auto& [id, object] : objects_) {
    const auto* hwpt = std::get_if<Hwpt>(&object);
    if (hwpt && hwpt->ioas == ioas) return id;
  }
  return 0;
}

int Iommufd::Destroy(uapi::iommu_destroy& command) {
  const auto found = objects_.find(command.id);
  if (found == objects_.end()) return -ENOENT;
  const auto* ioas = std::get_if<Ioas>(&found->second);
  if (!ioas || ioas->space.attached()) return -EBUSY;
  objects_.erase(found);
  return 0;
}

int Iommufd::IoasAlloc(uapi::iommu_ioas_alloc& command) {
  if (command.flags != 0) return -EOPNOTSUPP;
  command.out_ioas_id = Add(Ioas{IoAddressSpace(limits_)});
  return 0;
}

int Iommufd::IoasIovaRanges(uapi::iommu_ioas_iova_ranges& command) {
  if (command.__reserved != 0) return -EOPNOTSUPP;
  const auto* ioas = Find<Ioas>(command.ioas_id);
  if (!ioas) return -ENOENT;
  const auto ranges = ioas->space.Ranges();
  const auto room = std::min<std::size_t>(command.num_iovas, ranges.size());
  std::copy_n(ranges.begin(), room, reinterpret_cast<uapi::iommu_iova_range*>(command.allowed_iovas));
  const bool fits = command.num_iovas >= ranges.size();
  command.num_iovas = static_cast<uint32_t>(ranges.size());
  command.out_iova_alignment = ioas->space.alignment();
  return fits ? 0 : -EMSGSIZE;
}

int Iommufd::IoasMap(uapi::iommu_ioas_map& command) {
  const int bad = command.__reserved != 0 ? -EOPNOTSUPP : CheckMap(command);
  if (bad != 0) return bad;
  auto* ioas = Find<Ioas>(command.ioas_id);
  if (!ioas) return -ENOENT;
  if (command.user_va + command.length < command.user_va) return -EOVERFLOW;
  if (command.length == 0) return -EINVAL;
  const IoAddressSpace::Piece piece = {.pages = UserPages(command.user_va, command.length),
                                       .offset = 0,
                                       .alignment_hint = command.user_va,
                                       .length = command.length,
                                       .writable = (command.flags & uapi::IOMMU_IOAS_MAP_WRITEABLE) != 0};
  return ioas->space.Map({piece}, command.flags, &command.iova);
}

int Iommufd::IoasMapFile(uapi::iommu_ioas_map_file& command) {
  const int bad = CheckMap(command);
  if (bad != 0) return bad;
  auto* ioas = Find<Ioas>(command.ioas_id);
  if (!ioas) return -ENOENT;
  if (command.length == 0) return -EINVAL;
  if (command.start + (command.length - 1) < command.start) return -EOVERFLOW;
  std::shared_ptr<Pages> pages;
  const auto file = table_.Find(command.fd);
  if (const auto buffer = std::dynamic_pointer_cast<DmaBuf>(file)) {
    if (buffer->size() <= command.start + (command.length - 1)) return -EINVAL;
    const int imported = buffer->Import(&pages);
    if (imported != 0) return imported;
  } else {
    if (fcntl(command.fd, F_GETFD) < 0) return -EBADF;
    pages = FilePages(command.fd);
    if (!pages) return -ENOMEM;
  }
  const IoAddressSpace::Piece piece = {.pages = std::move(pages),
                                       .offset = command.start,
                                       .alignment_hint = command.start,
                                       .length = command.length,
                                       .writable = (command.flags & uapi::IOMMU_IOAS_MAP_WRITEABLE) != 0};
  return ioas->space.Map({piece}, command.flags, &command.iova);
}

int Iommufd::IoasCopy(uapi::iommu_ioas_copy& command) {
  if ((command.flags & ~(kAccess | uapi::IOMMU_IOAS_MAP_FIXED_IOVA)) != 0) return -EOPNOTSUPP;
  constexpr uint64_t kTooMuch = ~uint64_t{0};
  if (command.length == kTooMuch || command.src_iova == kTooMuch || command.dst_iova == kTooMuch) return -EOVERFLOW;
  if ((command.flags & kAccess) == 0) return -EINVAL;
  const auto* source = Find<Ioas>(command.src_ioas_id);
  if (!source) return -ENOENT;
  std::vector<IoAddressSpace::Piece> pieces;
  const int found = source->space.Find(command.src_iova, command.length, &pieces);
  if (found != 0) return found;
  auto* destination = Find<Ioas>(command.dst_ioas_id);
  return destination ? destination->space.Map(pieces, command.flags, &command.dst_iova) : -ENOENT;
}

int Iommufd::IoasUnmap(uapi::iommu_ioas_unmap& command) {
  auto* ioas = Find<Ioas>(command.ioas_id);
  if (!ioas) return -ENOENT;
  uint64_t unmapped = 0;
  const int result = ioas->space.Unmap(command.iova, command.length, &unmapped);
  if (result == 0) command.length = unmapped;
  return result;
}

uint32_t Iommufd::AddDevice() { return Add(Device{0}); }

int Iommufd::Attach(uint32_t device, uint32_t page_table) {
  const auto found = objects_.find(page_table);
  if (found == objects_.end()) return -ENOENT;
  uint32_t ioas_id = page_table;
  if (const auto* hwpt = std::get_if<Hwpt>(&found->second)) ioas_id = hwpt->ioas;
  auto* ioas = Find<Ioas>(ioas_id);
  if (!ioas) return -EINVAL;
  const int attached = ioas->space.Attach();
  if (attached != 0) return attached;
  uint32_t hwpt = HwptOf(ioas_id);
  if (hwpt == 0) hwpt = Add(Hwpt{ioas_id, 0});
  ++Find<Hwpt>(hwpt)->users;
  Detach(device);  // from what it was attached to before: the kernel replaces
  Find<Device>(device)->hwpt = hwpt;
  return static_cast<int>(hwpt);
}

void Iommufd::Detach(uint32_t device) {
  auto* found = Find<Device>(device);
  auto* hwpt = Find<Hwpt>(found->hwpt);
  if (!hwpt) return;
  Find<Ioas>(hwpt->ioas)->space.Detach();
  if (--hwpt->users == 0) objects_.erase(found->hwpt);
  found->hwpt = 0;
}

const IoAddressSpace* Iommufd::AddressSpaceOf(uint32_t device) const {
  const auto* found = std::get_if<Device>(&objects_.at(device));
  if (!found || found->hwpt == 0) return nullptr;
  const auto& hwpt = std::get<Hwpt>(objects_.at(found->hwpt));
  return &std::get<Ioas>(objects_.at(hwpt.ioas)).space;
}

}  // namespace fake
