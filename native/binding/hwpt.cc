// Functions of hardware page tables: allocation, fault queues, dirty tracking, invalidation, and the properties of an
// IOMMU.
#include "core/hwpt.h"

#include "binding/addon.h"
#include "binding/iommufd_object.h"

namespace binding {

template <>
Napi::Value ToJs(Napi::Env env, const core::HwInfo& info) {
  return Record(env)
      .Define("type", info.type)
      .Define("bytes", info.data)
      .Define("capabilities", info.capabilities)
      .Define("maxPasidLog2", info.max_pasid_log2);
}

namespace {

// The parent of a HWPT: an IOAS, a HWPT or a vIOMMU.
std::shared_ptr<core::IommufdObject> UnwrapParent(const Napi::Value& value) {
  if (IsHandleOf<core::Viommu>(value)) return Unwrap<core::Viommu>(value);
  return UnwrapPageTable(value);
}

// hwptAllocate(parent, device, flags, type, data, faultQueue | undefined, async): Hwpt
Napi::Value HwptAllocate(const Napi::CallbackInfo& info) {
  core::Hwpt::Request request = {.device = ToU32(info[1]),
                                 .flags = ToU32(info[2]),
                                 .data_type = ToU32(info[3]),
                                 .data = FromJs<std::vector<uint8_t>>(info[4])};
  core::IommufdObject::Parents also;
  if (!info[5].IsUndefined()) {
    auto faults = Unwrap<core::FaultQueue>(info[5]);
    request.fault_queue = faults->id();
    also.push_back(std::move(faults));
  }
  return Run(
      info.Env(), info[6],
      [parent = UnwrapParent(info[0]), request = std::move(request), also = std::move(also)] {
        return core::Hwpt::Allocate(parent, request, also);
      },
      Wrap<core::Hwpt>);
}

// hwptInvalidate(hwpt, type, entryLength, bytes, heeded), viommuInvalidate(viommu, …): write the number of entries that
// were executed to `heeded`, a Uint32Array, also on failure
template <typename T>
void Invalidate(const T& object, uint32_t type, uint32_t entry_length, const std::vector<uint8_t>& entries,
                Napi::Uint32Array heeded) {
  if (heeded.ElementLength() == 0) throw Napi::TypeError::New(heeded.Env(), "expected room for a number");
  int error = 0;
  heeded[0] = core::Invalidate(object, type, entry_length, entries, &error);
  core::Check(error, "ioctl", "IOMMU_HWPT_INVALIDATE");
}

// hwptGetDirtyBitmap(hwpt, iova, length, pageSize, keep): BigUint64Array
Napi::BigUint64Array HwptGetDirtyBitmap(Napi::Env env, const core::Hwpt& hwpt, uint64_t iova, uint64_t length,
                                        uint64_t page_size, bool keep) {
  if (page_size == 0) throw Napi::RangeError::New(env, "expected a page size");
  const uint64_t words = length / page_size / 64 + 1;
  if (words > uint64_t{1} << 26) throw Napi::RangeError::New(env, "too many pages");
  auto bitmap = Napi::BigUint64Array::New(env, words);
  hwpt.GetDirtyBitmap(iova, length, page_size, keep, bitmap.Data());
  return bitmap;
}

// iommufdDestroy(iommufd, id)
void IommufdDestroy(const core::Fd& iommufd, uint32_t id) { core::IommufdObject::Destroy(iommufd, id); }

}  // namespace

void InitHwpt(Napi::Env env, Napi::Object exports) {
  Export<HwptAllocate>(env, exports, "hwptAllocate");
  ExportObject<core::Hwpt>(env, exports, "hwpt");
  Export<Invalidate<core::Hwpt>>(env, exports, "hwptInvalidate");
  Export<Invalidate<core::Viommu>>(env, exports, "viommuInvalidate");
  Export<&core::Hwpt::SetDirtyTracking>(env, exports, "hwptSetDirtyTracking");
  Export<HwptGetDirtyBitmap>(env, exports, "hwptGetDirtyBitmap");
  Export<core::FaultQueue::Allocate>(env, exports, "faultQueueAllocate");
  Export<QueueFile<core::FaultQueue>>(env, exports, "faultQueueFile");
  ExportObject<core::FaultQueue>(env, exports, "faultQueue");
  Export<core::GetHwInfo>(env, exports, "iommufdHwInfo");
  Export<IommufdDestroy>(env, exports, "iommufdDestroy");
}

}  // namespace binding
