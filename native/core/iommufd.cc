#include "core/iommufd.h"

#include <cerrno>

namespace core {
namespace {

uint32_t MapFlags(const Ioas::Placement& placement) {
  return placement.access | (placement.iova ? uapi::IOMMU_IOAS_MAP_FIXED_IOVA : 0);
}

}  // namespace

std::shared_ptr<Ioas> Ioas::Allocate(std::shared_ptr<Fd> iommufd) {
  uapi::iommu_ioas_alloc command = {.size = sizeof(command)};
  iommufd->Ioctl(VFIO_DMABUF_REQUEST(IOMMU_IOAS_ALLOC), &command);
  return std::shared_ptr<Ioas>(new Ioas(std::move(iommufd), command.out_ioas_id));
}

Ioas::~Ioas() {
  if (id_ == 0) return;
  uapi::iommu_destroy command = {.size = sizeof(command), .id = id_};
  iommufd_->Ask(VFIO_DMABUF_REQUEST(IOMMU_DESTROY), &command);
}

void Ioas::Destroy() {
  if (id_ == 0) return;
  uapi::iommu_destroy command = {.size = sizeof(command), .id = id_};
  iommufd_->Ioctl(VFIO_DMABUF_REQUEST(IOMMU_DESTROY), &command);
  id_ = 0;
}

uint64_t Ioas::Map(const void* address, uint64_t length, Placement placement) const {
  uapi::iommu_ioas_map command = {.size = sizeof(command),
                                  .flags = MapFlags(placement),
                                  .ioas_id = id_,
                                  .user_va = reinterpret_cast<uintptr_t>(address),
                                  .length = length,
                                  .iova = placement.iova.value_or(0)};
  iommufd_->Ioctl(VFIO_DMABUF_REQUEST(IOMMU_IOAS_MAP), &command);
  return command.iova;
}

uint64_t Ioas::MapFile(int fd, uint64_t start, uint64_t length, Placement placement) const {
  uapi::iommu_ioas_map_file command = {.size = sizeof(command),
                                       .flags = MapFlags(placement),
                                       .ioas_id = id_,
                                       .fd = fd,
                                       .start = start,
                                       .length = length,
                                       .iova = placement.iova.value_or(0)};
  iommufd_->Ioctl(VFIO_DMABUF_REQUEST(IOMMU_IOAS_MAP_FILE), &command);
  return command.iova;
}

uint64_t Ioas::Copy(const Ioas& source, uint64_t source_iova, uint64_t length, Placement placement) const {
  uapi::iommu_ioas_copy command = {.size = sizeof(command),
                                   .flags = MapFlags(placement),
                                   .dst_ioas_id = id_,
                                   .src_ioas_id = source.id_,
                                   .length = length,
                                   .dst_iova = placement.iova.value_or(0),
                                   .src_iova = source_iova};
  iommufd_->Ioctl(VFIO_DMABUF_REQUEST(IOMMU_IOAS_COPY), &command);
  return command.dst_iova;
}

uint64_t Ioas::Unmap(uint64_t iova, uint64_t length) const {
  uapi::iommu_ioas_unmap command = {.size = sizeof(command), .ioas_id = id_, .iova = iova, .length = length};
  iommufd_->Ioctl(VFIO_DMABUF_REQUEST(IOMMU_IOAS_UNMAP), &command);
  return command.length;
}

IovaRanges Ioas::GetIovaRanges() const {
  std::vector<uapi::iommu_iova_range> ranges(16);
  for (;;) {
    uapi::iommu_ioas_iova_ranges command = {.size = sizeof(command),
                                            .ioas_id = id_,
                                            .num_iovas = static_cast<uint32_t>(ranges.size()),
                                            .allowed_iovas = reinterpret_cast<uintptr_t>(ranges.data())};
    try {
      iommufd_->Ioctl(VFIO_DMABUF_REQUEST(IOMMU_IOAS_IOVA_RANGES), &command);
    } catch (const Failure& failure) {
      // The count that is wanted came back; it may have grown again by the next call.
      if (failure.error != EMSGSIZE || command.num_iovas <= ranges.size()) throw;
      ranges.resize(command.num_iovas);
      continue;
    }
    ranges.resize(command.num_iovas);
    return {std::move(ranges), command.out_iova_alignment};
  }
}

}  // namespace core
