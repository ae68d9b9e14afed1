// Functions of VFIO groups and containers. A container's handle is its Fd; JavaScript keeps the Mappings of mapped
// pages alive.
#include "core/vfio_container.h"

#include <sys/mman.h>

#include "binding/addon.h"
#include "core/vfio_group.h"
#include "kernel/page_size.h"

namespace binding {

template <>
core::VfioContainer FromJs(const Napi::Value& value) {
  return core::VfioContainer(Unwrap<core::Fd>(value));
}

template <>
Napi::Value ToJs(Napi::Env env, const core::InfoWithCapabilities<uapi::vfio_iommu_type1_info>& answer) {
  return Record(env)
      .Define("flags", answer.info.flags)
      .Define("pageSizes", answer.info.iova_pgsizes)
      .Define("capOffset", answer.info.cap_offset)
      .Define("bytes", answer.bytes);
}

template <>
Napi::Value ToJs(Napi::Env env, const core::VfioContainer::DirtyPages& pages) {
  return Record(env).Define("unmapped", pages.unmapped).Define("bitmap", pages.bitmap);
}

namespace {

using core::VfioContainer;

// containerMapMemory(container, memfd, offset, length, iova, flags, async): Mapping, a new one, so that closing the
// DmaMemory does not unmap it
std::shared_ptr<core::Mapping> MapMemory(const VfioContainer& container, const std::shared_ptr<core::Fd>& memory,
                                         uint64_t offset, uint64_t length, uint64_t iova, uint32_t flags) {
  // mmap(2) needs a page-aligned offset. An offset inside a page is passed on as an address inside the page, which the
  // container refuses.
  const uint64_t start = offset % kernel::PageSize();
  auto pages = std::make_shared<core::Mapping>(memory, offset - start, start + length, PROT_READ | PROT_WRITE);
  container.MapDma(*pages, start, iova, flags);
  return pages;
}

// containerMapRegion(container, device, offset in the device's file, length, iova, flags, writable): Mapping
std::shared_ptr<core::Mapping> MapRegion(const VfioContainer& container, const core::VfioDevice& device,
                                         uint64_t offset, uint64_t length, uint64_t iova, uint32_t flags,
                                         bool writable) {
  const uint64_t start = offset % kernel::PageSize();
  auto pages = device.Map(offset - start, start + length, writable ? PROT_READ | PROT_WRITE : PROT_READ);
  container.MapDma(*pages, start, iova, flags);
  return pages;
}

}  // namespace

void InitVfioContainer(Napi::Env env, Napi::Object exports) {
  Export<&VfioContainer::GetApiVersion>(env, exports, "containerApiVersion");
  Export<&VfioContainer::CheckExtension>(env, exports, "containerExtension");
  ExportAsync<&VfioContainer::SetIommu>(env, exports, "containerSetIommu");
  Export<&VfioContainer::GetInfo>(env, exports, "containerInfo");
  ExportAsync<MapMemory>(env, exports, "containerMapMemory");
  Export<MapRegion>(env, exports, "containerMapRegion");
  ExportAsync<&VfioContainer::UnmapDma>(env, exports, "containerUnmap");
  Export<&VfioContainer::UnmapDmaDirty>(env, exports, "containerUnmapDirty");
  Export<&VfioContainer::TrackDirtyPages>(env, exports, "containerTrackDirtyPages");
  Export<&VfioContainer::GetDirtyPages>(env, exports, "containerDirtyPages");
  Export<core::GetGroupStatus>(env, exports, "groupStatus");
  ExportAsync<core::SetContainer>(env, exports, "groupSetContainer");
  ExportAsync<core::UnsetContainer>(env, exports, "groupUnsetContainer");
  ExportAsync<core::GetDeviceFd>(env, exports, "groupDeviceFd");
}

}  // namespace binding
