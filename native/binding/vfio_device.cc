// Functions of a VFIO device: binding, attaching, information, and access to its regions.
#include <sys/mman.h>

#include "binding/addon.h"
#include "binding/call.h"
#include "binding/handle.h"
#include "binding/iommufd_object.h"
#include "binding/vf_token.h"

namespace binding {
namespace {

// vfioDevice(fd, address): VfioDevice
Napi::Value VfioDevice(const Napi::CallbackInfo& info) {
  const auto fd = Unwrap<core::Fd>(info[0]);
  const std::string address = info[1].As<Napi::String>();
  return Wrap(info.Env(), std::make_shared<core::VfioDevice>(fd, address));
}

// vfioClose(device, async): the fd closes when the last call and the last mapping that use it end.
Napi::Value VfioClose(const Napi::CallbackInfo& info) {
  auto device = std::move(Unbox<core::VfioDevice>(info[0]));
  if (device) device->Close();
  return Release(info.Env(), info[1], std::move(device));
}

// The device's state word (core/device_state.h).
napi_value DeviceWord(napi_env env, napi_callback_info info) {
  void* data = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  napi_value result = nullptr;
  napi_create_double(env, static_cast<double>((*static_cast<std::shared_ptr<core::DeviceState>*>(data))->Word()),
                     &result);
  return result;
}

// vfioWord(device): () => number, a function that returns the device's state word, also after vfioClose()
Napi::Value VfioWord(const Napi::CallbackInfo& info) {
  return HotFunction<DeviceWord>(info.Env(), "word", Unwrap<core::VfioDevice>(info[0])->state());
}

Napi::Value FromId(Napi::Env env, uint32_t id) { return Napi::Number::New(env, id); }

// vfioBind(device, iommufd, token | undefined, async): number
Napi::Value VfioBind(const Napi::CallbackInfo& info) {
  std::optional<core::VfioDevice::Token> token;
  if (!info[2].IsUndefined()) token = ToToken(info[2]);
  return Run(
      info.Env(), info[3],
      [device = Unwrap<core::VfioDevice>(info[0]), iommufd = Unwrap<core::Fd>(info[1]), token] {
        return device->Bind(iommufd, token);
      },
      FromId);
}

// vfioAttach(device, ioas or hwpt, async): number
Napi::Value VfioAttach(const Napi::CallbackInfo& info) {
  // The captures are destroyed in reverse order: the device first. If the device was closed during the call, that
  // detaches it, and the page table can then be destroyed.
  return Run(
      info.Env(), info[2],
      [table = UnwrapPageTable(info[1]), device = Unwrap<core::VfioDevice>(info[0])] {
        return device->Attach(table->id());
      },
      FromId);
}

// vfioAttachPasid(device, IOAS or HWPT, pasid, async): number
Napi::Value VfioAttachPasid(const Napi::CallbackInfo& info) {
  const uint32_t pasid = ToU32(info[2]);
  return Run(
      info.Env(), info[3],
      [table = UnwrapPageTable(info[1]), device = Unwrap<core::VfioDevice>(info[0]), pasid] {
        return device->AttachPasid(table->id(), pasid);
      },
      FromId);
}

// vfioDetachPasid(device, pasid, async)
Napi::Value VfioDetachPasid(const Napi::CallbackInfo& info) {
  const uint32_t pasid = ToU32(info[1]);
  return Run(
      info.Env(), info[2],
      [device = Unwrap<core::VfioDevice>(info[0]), pasid] {
        device->DetachPasid(pasid);
        return Nothing{};
      },
      FromNothing);
}

// vfioDetach(device, async)
Napi::Value VfioDetach(const Napi::CallbackInfo& info) {
  return Run(
      info.Env(), info[1],
      [device = Unwrap<core::VfioDevice>(info[0])] {
        device->Detach();
        return Nothing{};
      },
      FromNothing);
}

// vfioInfo(device): { flags, regions, irqs, capOffset, bytes }
Napi::Value VfioInfo(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  const auto answer = device->GetInfo();
  Record result(info.Env());
  result.Define("flags", answer.info.flags);
  result.Define("regions", answer.info.num_regions);
  result.Define("irqs", answer.info.num_irqs);
  result.Define("capOffset", answer.info.cap_offset);
  result.Define("bytes", FromBytes(info.Env(), answer.bytes));
  return result;
}

// vfioRegionInfo(device, index): { flags, size, offset, capOffset, bytes }
Napi::Value VfioRegionInfo(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  const uint32_t index = ToU32(info[1]);
  const auto answer = device->GetRegionInfo(index);
  Record result(info.Env());
  result.Define("flags", answer.info.flags);
  result.Define("size", FromU64(info.Env(), answer.info.size));
  result.Define("offset", FromU64(info.Env(), answer.info.offset));
  result.Define("capOffset", answer.info.cap_offset);
  result.Define("bytes", FromBytes(info.Env(), answer.bytes));
  return result;
}

// vfioIrqInfo(device, index): { flags, count }
Napi::Value VfioIrqInfo(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  const uint32_t index = ToU32(info[1]);
  const auto answer = device->GetIrqInfo(index);
  Record result(info.Env());
  result.Define("flags", answer.flags);
  result.Define("count", answer.count);
  return result;
}

// vfioRead(device, offset, Uint8Array): number of bytes
Napi::Value VfioRead(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  const uint64_t offset = ToU64(info[1]);
  auto bytes = ToArray<Napi::Uint8Array>(info[2], napi_uint8_array);
  const auto moved = device->Read(offset, bytes.Data(), bytes.ByteLength());
  return Napi::Number::New(info.Env(), static_cast<double>(moved));
}

// vfioWrite(device, offset, Uint8Array): number of bytes
Napi::Value VfioWrite(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  const uint64_t offset = ToU64(info[1]);
  const auto bytes = ToArray<Napi::Uint8Array>(info[2], napi_uint8_array);
  const auto moved = device->Write(offset, bytes.Data(), bytes.ByteLength());
  return Napi::Number::New(info.Env(), static_cast<double>(moved));
}

// vfioMap(device, offset, length, writable): Mapping
Napi::Value VfioMap(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  const uint64_t offset = ToU64(info[1]);
  const uint64_t length = ToU64(info[2]);
  const int protection = info[3].ToBoolean() ? PROT_READ | PROT_WRITE : PROT_READ;
  return Wrap(info.Env(), device->Map(offset, length, protection));
}

}  // namespace

void InitVfioDevice(Napi::Env env, Napi::Object exports) {
  Export<VfioDevice>(env, exports, "vfioDevice");
  Export<VfioClose>(env, exports, "vfioClose");
  Export<VfioWord>(env, exports, "vfioWord");
  Export<VfioBind>(env, exports, "vfioBind");
  Export<VfioAttach>(env, exports, "vfioAttach");
  Export<VfioAttachPasid>(env, exports, "vfioAttachPasid");
  Export<VfioDetachPasid>(env, exports, "vfioDetachPasid");
  Export<VfioDetach>(env, exports, "vfioDetach");
  Export<VfioInfo>(env, exports, "vfioInfo");
  Export<VfioRegionInfo>(env, exports, "vfioRegionInfo");
  Export<VfioIrqInfo>(env, exports, "vfioIrqInfo");
  Export<VfioRead>(env, exports, "vfioRead");
  Export<VfioWrite>(env, exports, "vfioWrite");
  Export<VfioMap>(env, exports, "vfioMap");
}

}  // namespace binding
