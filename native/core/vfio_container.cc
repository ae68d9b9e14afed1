// The ioctls of a VFIO container and its type 1 IOMMU.
#include "core/vfio_container.h"

#include "core/query_info.h"

namespace core {
namespace {

// Two requests take a number where others take an address.
void* Value(uint32_t value) { return reinterpret_cast<void*>(uintptr_t{value}); }

std::vector<uint64_t> MakeBitmap(uint64_t size, uint64_t page_size) {
  const uint64_t pages = page_size == 0 ? 0 : size / page_size;
  return std::vector<uint64_t>((pages + 63) / 64);
}

uapi::vfio_bitmap Describe(std::vector<uint64_t>& bitmap, uint64_t page_size) {
  return {.pgsize = page_size,
          .size = bitmap.size() * sizeof(bitmap[0]),
          .data = reinterpret_cast<uintptr_t>(bitmap.data())};
}

// Of the last word the kernel may fill more than the range's pages (update_user_bitmap() in vfio_iommu_type1.c).
void Clip(std::vector<uint64_t>& bitmap, uint64_t size, uint64_t page_size) {
  const uint64_t used = size / page_size % 64;
  if (used > 0) bitmap.back() &= (uint64_t{1} << used) - 1;
}

}  // namespace

int VfioContainer::GetApiVersion() const { return fd_->Ioctl(VFIO_DMABUF_REQUEST(VFIO_GET_API_VERSION), nullptr); }

int VfioContainer::CheckExtension(uint32_t extension) const {
  return fd_->Ioctl(VFIO_DMABUF_REQUEST(VFIO_CHECK_EXTENSION), Value(extension));
}

void VfioContainer::SetIommu(uint32_t type) const { fd_->Ioctl(VFIO_DMABUF_REQUEST(VFIO_SET_IOMMU), Value(type)); }

InfoWithCapabilities<uapi::vfio_iommu_type1_info> VfioContainer::GetInfo() const {
  return QueryInfo<uapi::vfio_iommu_type1_info>(*fd_, VFIO_DMABUF_REQUEST(VFIO_IOMMU_GET_INFO), {});
}

void VfioContainer::MapDma(const Mapping& pages, uint64_t start, uint64_t iova, uint32_t flags) const {
  fd_->Call(VFIO_DMABUF_REQUEST(VFIO_IOMMU_MAP_DMA),
            uapi::vfio_iommu_type1_dma_map{.flags = flags,
                                           .vaddr = reinterpret_cast<uintptr_t>(pages.address()) + start,
                                           .iova = iova,
                                           .size = pages.length() - start});
}

uint64_t VfioContainer::UnmapDma(uint64_t iova, uint64_t size, uint32_t flags) const {
  return fd_
      ->Call(VFIO_DMABUF_REQUEST(VFIO_IOMMU_UNMAP_DMA),
             uapi::vfio_iommu_type1_dma_unmap{.flags = flags, .iova = iova, .size = size})
      .size;
}

VfioContainer::DirtyPages VfioContainer::UnmapDmaDirty(uint64_t iova, uint64_t size, uint64_t page_size) const {
  auto bitmap = MakeBitmap(size, page_size);
  struct {
    uapi::vfio_iommu_type1_dma_unmap unmap;
    uapi::vfio_bitmap bitmap;
  } command = {.unmap = {.argsz = sizeof(command),
                         .flags = uapi::VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP,
                         .iova = iova,
                         .size = size},
               .bitmap = Describe(bitmap, page_size)};
  fd_->Ioctl(VFIO_DMABUF_REQUEST(VFIO_IOMMU_UNMAP_DMA), &command);
  Clip(bitmap, size, page_size);
  return {command.unmap.size, std::move(bitmap)};
}

void VfioContainer::TrackDirtyPages(bool start) const {
  fd_->Call(VFIO_DMABUF_REQUEST(VFIO_IOMMU_DIRTY_PAGES),
            uapi::vfio_iommu_type1_dirty_bitmap{.flags = start ? uapi::VFIO_IOMMU_DIRTY_PAGES_FLAG_START
                                                               : uapi::VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP});
}

std::vector<uint64_t> VfioContainer::GetDirtyPages(uint64_t iova, uint64_t size, uint64_t page_size) const {
  auto bitmap = MakeBitmap(size, page_size);
  struct {
    uapi::vfio_iommu_type1_dirty_bitmap header;
    uapi::vfio_iommu_type1_dirty_bitmap_get get;
  } command = {.header = {.argsz = sizeof(command), .flags = uapi::VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP},
               .get = {.iova = iova, .size = size, .bitmap = Describe(bitmap, page_size)}};
  fd_->Ioctl(VFIO_DMABUF_REQUEST(VFIO_IOMMU_DIRTY_PAGES), &command);
  Clip(bitmap, size, page_size);
  return bitmap;
}

}  // namespace core
