// The ioctls of an iommufd and its IOASes.
#include "core/iommufd.h"

#include <cerrno>

namespace core {
namespace {

uint32_t MapFlags(const Ioas::Placement& placement) {
  return placement.access | (placement.iova ? uapi::IOMMU_IOAS_MAP_FIXED_IOVA : 0);
}

uint64_t Option(const Fd& iommufd, uint32_t option, uint32_t object) {
  const auto command =
      iommufd.Call(VFIO_DMABUF_REQUEST(IOMMU_OPTION),
                   uapi::iommu_option{.option_id = option, .op = uapi::IOMMU_OPTION_OP_GET, .object_id = object});
  return command.val64;
}

void SetOption(const Fd& iommufd, uint32_t option, uint32_t object, uint64_t value) {
  iommufd.Call(
      VFIO_DMABUF_REQUEST(IOMMU_OPTION),
      uapi::iommu_option{.option_id = option, .op = uapi::IOMMU_OPTION_OP_SET, .object_id = object, .val64 = value});
}

}  // namespace

std::shared_ptr<Ioas> Ioas::Allocate(std::shared_ptr<Fd> iommufd) {
  const auto command = iommufd->Call(VFIO_DMABUF_REQUEST(IOMMU_IOAS_ALLOC), uapi::iommu_ioas_alloc{});
  return std::shared_ptr<Ioas>(new Ioas(std::move(iommufd), command.out_ioas_id));
}

std::shared_ptr<Ioas> Ioas::Adopt(std::shared_ptr<Fd> iommufd, uint32_t id) {
  Option(*iommufd, uapi::IOMMU_OPTION_HUGE_PAGES, id);  // fails when `id` is no IOAS
  return std::shared_ptr<Ioas>(new Ioas(std::move(iommufd), id));
}

uint64_t Ioas::Map(const void* address, uint64_t length, Placement placement) const {
  return iommufd()
      ->Call(VFIO_DMABUF_REQUEST(IOMMU_IOAS_MAP), uapi::iommu_ioas_map{.flags = MapFlags(placement),
                                                                       .ioas_id = id(),
                                                                       .user_va = reinterpret_cast<uintptr_t>(address),
                                                                       .length = length,
                                                                       .iova = placement.iova.value_or(0)})
      .iova;
}

uint64_t Ioas::MapFile(int fd, uint64_t start, uint64_t length, Placement placement) const {
  return iommufd()
      ->Call(VFIO_DMABUF_REQUEST(IOMMU_IOAS_MAP_FILE), uapi::iommu_ioas_map_file{.flags = MapFlags(placement),
                                                                                 .ioas_id = id(),
                                                                                 .fd = fd,
                                                                                 .start = start,
                                                                                 .length = length,
                                                                                 .iova = placement.iova.value_or(0)})
      .iova;
}

uint64_t Ioas::Copy(const Ioas& source, uint64_t source_iova, uint64_t length, Placement placement) const {
  return iommufd()
      ->Call(VFIO_DMABUF_REQUEST(IOMMU_IOAS_COPY), uapi::iommu_ioas_copy{.flags = MapFlags(placement),
                                                                         .dst_ioas_id = id(),
                                                                         .src_ioas_id = source.id(),
                                                                         .length = length,
                                                                         .dst_iova = placement.iova.value_or(0),
                                                                         .src_iova = source_iova})
      .dst_iova;
}

uint64_t Ioas::Unmap(uint64_t iova, uint64_t length) const {
  return iommufd()
      ->Call(VFIO_DMABUF_REQUEST(IOMMU_IOAS_UNMAP),
             uapi::iommu_ioas_unmap{.ioas_id = id(), .iova = iova, .length = length})
      .length;
}

IovaRanges Ioas::GetIovaRanges() const {
  std::vector<uapi::iommu_iova_range> ranges(16);
  for (;;) {
    uapi::iommu_ioas_iova_ranges command = {.size = sizeof(command),
                                            .ioas_id = id(),
                                            .num_iovas = static_cast<uint32_t>(ranges.size()),
                                            .allowed_iovas = reinterpret_cast<uintptr_t>(ranges.data())};
    try {
      iommufd()->Ioctl(VFIO_DMABUF_REQUEST(IOMMU_IOAS_IOVA_RANGES), &command);
    } catch (const Failure& failure) {
      // The kernel returned the needed count. It may grow until the next call.
      if (failure.error != EMSGSIZE || command.num_iovas <= ranges.size()) throw;
      ranges.resize(command.num_iovas);
      continue;
    }
    ranges.resize(command.num_iovas);
    return {std::move(ranges), command.out_iova_alignment};
  }
}

void Ioas::AllowIovas(const std::vector<uapi::iommu_iova_range>& ranges) const {
  iommufd()->Call(VFIO_DMABUF_REQUEST(IOMMU_IOAS_ALLOW_IOVAS),
                  uapi::iommu_ioas_allow_iovas{.ioas_id = id(),
                                               .num_iovas = static_cast<uint32_t>(ranges.size()),
                                               .allowed_iovas = reinterpret_cast<uintptr_t>(ranges.data())});
}

bool Ioas::HugePages() const { return Option(*iommufd(), uapi::IOMMU_OPTION_HUGE_PAGES, id()) != 0; }

void Ioas::SetHugePages(bool enable) const {
  SetOption(*iommufd(), uapi::IOMMU_OPTION_HUGE_PAGES, id(), enable ? 1 : 0);
}

Ioas::PhysicalRange Ioas::NoIommuGetPhysical(uint64_t iova, uint64_t length) const {
  const auto command =
      iommufd()->Call(VFIO_DMABUF_REQUEST(IOMMU_IOAS_NOIOMMU_GET_PA),
                      uapi::iommu_ioas_noiommu_get_pa{.ioas_id = id(), .iova = iova, .length = length});
  return {command.out_phys, command.length};
}

uint64_t RlimitMode(const Fd& iommufd) { return Option(iommufd, uapi::IOMMU_OPTION_RLIMIT_MODE, 0); }

void SetRlimitMode(const Fd& iommufd, uint64_t mode) { SetOption(iommufd, uapi::IOMMU_OPTION_RLIMIT_MODE, 0, mode); }

void ChangeProcess(const Fd& iommufd) {
  iommufd.Call(VFIO_DMABUF_REQUEST(IOMMU_IOAS_CHANGE_PROCESS), uapi::iommu_ioas_change_process{});
}

std::optional<uint32_t> VfioIoas(const Fd& iommufd) {
  uapi::iommu_vfio_ioas command = {.size = sizeof(command), .op = uapi::IOMMU_VFIO_IOAS_GET};
  const int answer = iommufd.Ask(VFIO_DMABUF_REQUEST(IOMMU_VFIO_IOAS), &command);
  if (answer == -ENODEV) return std::nullopt;
  Check(answer, "ioctl", "IOMMU_VFIO_IOAS");
  return command.ioas_id;
}

void SetVfioIoas(const Fd& iommufd, uint32_t ioas) {
  iommufd.Call(VFIO_DMABUF_REQUEST(IOMMU_VFIO_IOAS),
               uapi::iommu_vfio_ioas{.ioas_id = ioas, .op = uapi::IOMMU_VFIO_IOAS_SET});
}

void ClearVfioIoas(const Fd& iommufd) {
  iommufd.Call(VFIO_DMABUF_REQUEST(IOMMU_VFIO_IOAS), uapi::iommu_vfio_ioas{.op = uapi::IOMMU_VFIO_IOAS_CLEAR});
}

}  // namespace core
