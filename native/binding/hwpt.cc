// Functions of hardware page tables: allocation, dirty tracking, invalidation, and the properties of an IOMMU.
#include "core/hwpt.h"

#include "binding/addon.h"
#include "binding/iommufd_object.h"

namespace binding {
namespace {

std::optional<uint32_t> ToOptionalU32(const Napi::Value& value) {
  if (value.IsUndefined()) return std::nullopt;
  return ToU32(value);
}

// The parent of a HWPT: an IOAS, a HWPT or a vIOMMU.
std::shared_ptr<core::IommufdObject> UnwrapParent(const Napi::Value& value) {
  if (IsHandleOf<core::Viommu>(value)) return Unwrap<core::Viommu>(value);
  return UnwrapPageTable(value);
}

// hwptAllocate(parent, device, flags, type, data, faultQueue | undefined, async): Hwpt
Napi::Value HwptAllocate(const Napi::CallbackInfo& info) {
  core::Hwpt::Request request = {
      .device = ToU32(info[1]), .flags = ToU32(info[2]), .data_type = ToU32(info[3]), .data = ToBytes(info[4])};
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
void Invalidate(const Napi::CallbackInfo& info) {
  const auto object = Unwrap<T>(info[0]);
  auto heeded = ToArray<Napi::Uint32Array>(info[4], napi_uint32_array);
  if (heeded.ElementLength() == 0) throw Napi::TypeError::New(info.Env(), "expected room for a number");
  int error = 0;
  heeded[0] = core::Invalidate(*object, ToU32(info[1]), ToU32(info[2]), ToBytes(info[3]), &error);
  core::Check(error, "ioctl", "IOMMU_HWPT_INVALIDATE");
}

// hwptSetDirtyTracking(hwpt, enable)
void HwptSetDirtyTracking(const Napi::CallbackInfo& info) {
  Unwrap<core::Hwpt>(info[0])->SetDirtyTracking(info[1].ToBoolean());
}

// hwptGetDirtyBitmap(hwpt, iova, length, pageSize, keep): BigUint64Array
Napi::Value HwptGetDirtyBitmap(const Napi::CallbackInfo& info) {
  const auto hwpt = Unwrap<core::Hwpt>(info[0]);
  const uint64_t iova = ToU64(info[1]);
  const uint64_t length = ToU64(info[2]);
  const uint64_t page_size = ToU64(info[3]);
  if (page_size == 0) throw Napi::RangeError::New(info.Env(), "expected a page size");
  const uint64_t words = length / page_size / 64 + 1;
  if (words > uint64_t{1} << 26) throw Napi::RangeError::New(info.Env(), "too many pages");
  auto bitmap = Napi::BigUint64Array::New(info.Env(), words);
  hwpt->GetDirtyBitmap(iova, length, page_size, info[4].ToBoolean(), bitmap.Data());
  return bitmap;
}

// iommufdHwInfo(iommufd, device, type | undefined): { type, bytes, capabilities, maxPasidLog2 }
Napi::Value IommufdHwInfo(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto answer = core::GetHwInfo(*Unwrap<core::Fd>(info[0]), ToU32(info[1]), ToOptionalU32(info[2]));
  auto bytes = Napi::Uint8Array::New(env, answer.data.size());
  std::copy(answer.data.begin(), answer.data.end(), bytes.Data());
  Record result(env);
  result.Define("type", Napi::Number::New(env, answer.type));
  result.Define("bytes", bytes);
  result.Define("capabilities", FromU64(env, answer.capabilities));
  result.Define("maxPasidLog2", Napi::Number::New(env, answer.max_pasid_log2));
  return result;
}

// iommufdDestroy(iommufd, id)
void IommufdDestroy(const Napi::CallbackInfo& info) {
  core::IommufdObject::Destroy(*Unwrap<core::Fd>(info[0]), ToU32(info[1]));
}

}  // namespace

void InitHwpt(Napi::Env env, Napi::Object exports) {
  Export<HwptAllocate>(env, exports, "hwptAllocate");
  ExportObject<core::Hwpt>(env, exports, "hwpt");
  Export<Invalidate<core::Hwpt>>(env, exports, "hwptInvalidate");
  Export<Invalidate<core::Viommu>>(env, exports, "viommuInvalidate");
  Export<HwptSetDirtyTracking>(env, exports, "hwptSetDirtyTracking");
  Export<HwptGetDirtyBitmap>(env, exports, "hwptGetDirtyBitmap");
  Export<IommufdHwInfo>(env, exports, "iommufdHwInfo");
  Export<IommufdDestroy>(env, exports, "iommufdDestroy");
}

}  // namespace binding
