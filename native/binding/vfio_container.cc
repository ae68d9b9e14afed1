// Functions of a VFIO container. Its handle is its Fd; JavaScript keeps the Mappings of mapped pages alive.
#include "core/vfio_container.h"

#include <sys/mman.h>

#include <algorithm>

#include "binding/addon.h"
#include "binding/call.h"
#include "binding/handle.h"
#include "kernel/page_size.h"

namespace binding {
namespace {

Napi::Value FromWords(Napi::Env env, const std::vector<uint64_t>& words) {
  auto array = Napi::BigUint64Array::New(env, words.size());
  std::ranges::copy(words, array.Data());
  return array;
}

core::VfioContainer ToContainer(const Napi::Value& value) { return core::VfioContainer(Unwrap<core::Fd>(value)); }

// containerApiVersion(container): number
Napi::Value ContainerApiVersion(const Napi::CallbackInfo& info) {
  const auto container = ToContainer(info[0]);
  return Napi::Number::New(info.Env(), container.GetApiVersion());
}

// containerExtension(container, extension): number
Napi::Value ContainerExtension(const Napi::CallbackInfo& info) {
  const auto container = ToContainer(info[0]);
  const uint32_t extension = ToU32(info[1]);
  return Napi::Number::New(info.Env(), container.CheckExtension(extension));
}

// containerSetIommu(container, type, async)
Napi::Value ContainerSetIommu(const Napi::CallbackInfo& info) {
  return Run(
      info.Env(), info[2],
      [container = ToContainer(info[0]), type = ToU32(info[1])] {
        container.SetIommu(type);
        return Nothing{};
      },
      FromNothing);
}

// containerInfo(container): { flags, pageSizes, capOffset, bytes }
Napi::Value ContainerInfo(const Napi::CallbackInfo& info) {
  const auto container = ToContainer(info[0]);
  const auto answer = container.GetInfo();
  Record result(info.Env());
  result.Define("flags", answer.info.flags);
  result.Define("pageSizes", FromU64(info.Env(), answer.info.iova_pgsizes));
  result.Define("capOffset", answer.info.cap_offset);
  result.Define("bytes", FromBytes(info.Env(), answer.bytes));
  return result;
}

// containerMapMemory(container, memfd, offset, length, iova, flags, async): Mapping, a new one, so that closing the
// DmaMemory does not unmap it
Napi::Value ContainerMapMemory(const Napi::CallbackInfo& info) {
  return Run(
      info.Env(), info[6],
      [container = ToContainer(info[0]), memory = Unwrap<core::Fd>(info[1]), offset = ToU64(info[2]),
       length = ToU64(info[3]), iova = ToU64(info[4]), flags = ToU32(info[5])] {
        // mmap(2) needs a page-aligned offset. An offset inside a page is passed on as an address inside the page,
        // which the container refuses.
        const uint64_t start = offset % kernel::PageSize();
        auto pages = std::make_shared<core::Mapping>(memory, offset - start, start + length, PROT_READ | PROT_WRITE);
        container.MapDma(*pages, start, iova, flags);
        return pages;
      },
      Wrap<core::Mapping>);
}

// containerMapRegion(container, device, offset in the device's file, length, iova, flags, writable): Mapping
Napi::Value ContainerMapRegion(const Napi::CallbackInfo& info) {
  const auto container = ToContainer(info[0]);
  const auto device = Unwrap<core::VfioDevice>(info[1]);
  const uint64_t offset = ToU64(info[2]);
  const uint64_t length = ToU64(info[3]);
  const uint64_t iova = ToU64(info[4]);
  const uint32_t flags = ToU32(info[5]);
  const int protection = info[6].ToBoolean() ? PROT_READ | PROT_WRITE : PROT_READ;
  const uint64_t start = offset % kernel::PageSize();
  auto pages = device->Map(offset - start, start + length, protection);
  container.MapDma(*pages, start, iova, flags);
  return Wrap(info.Env(), std::move(pages));
}

// containerUnmap(container, iova, size, flags, async): bigint
Napi::Value ContainerUnmap(const Napi::CallbackInfo& info) {
  return Run(
      info.Env(), info[4],
      [container = ToContainer(info[0]), iova = ToU64(info[1]), size = ToU64(info[2]), flags = ToU32(info[3])] {
        return container.UnmapDma(iova, size, flags);
      },
      FromU64);
}

// containerUnmapDirty(container, iova, size, pageSize): { unmapped, bitmap }
Napi::Value ContainerUnmapDirty(const Napi::CallbackInfo& info) {
  const auto container = ToContainer(info[0]);
  const uint64_t iova = ToU64(info[1]);
  const uint64_t size = ToU64(info[2]);
  const uint64_t page_size = ToU64(info[3]);
  const auto answer = container.UnmapDmaDirty(iova, size, page_size);
  Record result(info.Env());
  result.Define("unmapped", FromU64(info.Env(), answer.unmapped));
  result.Define("bitmap", FromWords(info.Env(), answer.bitmap));
  return result;
}

// containerTrackDirtyPages(container, start)
void ContainerTrackDirtyPages(const Napi::CallbackInfo& info) {
  const auto container = ToContainer(info[0]);
  const bool start = info[1].ToBoolean();
  container.TrackDirtyPages(start);
}

// containerDirtyPages(container, iova, size, pageSize): BigUint64Array
Napi::Value ContainerDirtyPages(const Napi::CallbackInfo& info) {
  const auto container = ToContainer(info[0]);
  const uint64_t iova = ToU64(info[1]);
  const uint64_t size = ToU64(info[2]);
  const uint64_t page_size = ToU64(info[3]);
  return FromWords(info.Env(), container.GetDirtyPages(iova, size, page_size));
}

}  // namespace

void InitVfioContainer(Napi::Env env, Napi::Object exports) {
  Export<ContainerApiVersion>(env, exports, "containerApiVersion");
  Export<ContainerExtension>(env, exports, "containerExtension");
  Export<ContainerSetIommu>(env, exports, "containerSetIommu");
  Export<ContainerInfo>(env, exports, "containerInfo");
  Export<ContainerMapMemory>(env, exports, "containerMapMemory");
  Export<ContainerMapRegion>(env, exports, "containerMapRegion");
  Export<ContainerUnmap>(env, exports, "containerUnmap");
  Export<ContainerUnmapDirty>(env, exports, "containerUnmapDirty");
  Export<ContainerTrackDirtyPages>(env, exports, "containerTrackDirtyPages");
  Export<ContainerDirtyPages>(env, exports, "containerDirtyPages");
}

}  // namespace binding
