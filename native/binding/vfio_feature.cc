// VFIO_DEVICE_FEATURE: probing, small features, and the dma-buf export.
#include "binding/addon.h"
#include "binding/call.h"
#include "binding/handle.h"
#include "binding/vf_token.h"

namespace binding {
namespace {

// vfioProbe(device, feature, operation): boolean
Napi::Value VfioProbe(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  const uint32_t feature = ToU32(info[1]);
  const uint32_t operation = ToU32(info[2]);
  return Napi::Boolean::New(info.Env(), device->Probe(feature, operation));
}

// vfioSetVfToken(device, Uint8Array of 16 bytes)
void VfioSetVfToken(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  const auto token = ToToken(info[1]);
  device->SetVfToken(token);
}

// vfioSetBusMaster(device, on)
void VfioSetBusMaster(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  const bool on = info[1].ToBoolean();
  device->SetBusMaster(on);
}

// vfioZpciError(device): bigint
Napi::Value VfioZpciError(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  return FromU64(info.Env(), device->ZpciError());
}

// vfioExportDmaBuf(device, region, BigUint64Array [offset, length, offset, length, …]): Fd
Napi::Value VfioExportDmaBuf(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  const uint32_t region = ToU32(info[1]);
  const auto words = ToArray<Napi::BigUint64Array>(info[2], napi_biguint64_array);
  std::vector<uapi::vfio_region_dma_range> ranges(words.ElementLength() / 2);
  for (std::size_t i = 0; i < ranges.size(); ++i) ranges[i] = {words[2 * i], words[2 * i + 1]};
  return Wrap(info.Env(), device->ExportDmaBuf(region, ranges));
}

}  // namespace

void InitVfioFeature(Napi::Env env, Napi::Object exports) {
  Export<VfioProbe>(env, exports, "vfioProbe");
  Export<VfioSetVfToken>(env, exports, "vfioSetVfToken");
  Export<VfioSetBusMaster>(env, exports, "vfioSetBusMaster");
  Export<VfioZpciError>(env, exports, "vfioZpciError");
  Export<VfioExportDmaBuf>(env, exports, "vfioExportDmaBuf");
}

}  // namespace binding
