// Functions of a VFIO device: binding, attaching, information, features, access to its regions, and its display.
#include <sys/mman.h>

#include <algorithm>

#include "binding/addon.h"
#include "binding/iommufd_object.h"
#include "core/gfx.h"

namespace binding {

// 16 bytes, in the order in which a UUID is written.
template <>
core::VfioDevice::Token FromJs(const Napi::Value& value) {
  const auto bytes = FromJs<Napi::Uint8Array>(value);
  core::VfioDevice::Token token = {};
  if (bytes.ByteLength() != token.size()) throw Napi::TypeError::New(value.Env(), "expected 16 bytes");
  std::copy_n(bytes.Data(), token.size(), token.begin());
  return token;
}

template <>
Napi::Value ToJs(Napi::Env env, const core::InfoWithCapabilities<uapi::vfio_device_info>& answer) {
  return Record(env)
      .Define("flags", answer.info.flags)
      .Define("regions", answer.info.num_regions)
      .Define("irqs", answer.info.num_irqs)
      .Define("capOffset", answer.info.cap_offset)
      .Define("bytes", answer.bytes);
}

template <>
Napi::Value ToJs(Napi::Env env, const core::InfoWithCapabilities<uapi::vfio_region_info>& answer) {
  return Record(env)
      .Define("flags", answer.info.flags)
      .Define("size", answer.info.size)
      .Define("offset", answer.info.offset)
      .Define("capOffset", answer.info.cap_offset)
      .Define("bytes", answer.bytes);
}

template <>
Napi::Value ToJs(Napi::Env env, const uapi::vfio_irq_info& info) {
  return Record(env).Define("flags", info.flags).Define("count", info.count);
}

// NativePlane in lib/addon/native.ts
template <>
Napi::Value ToJs(Napi::Env env, const uapi::vfio_device_gfx_plane_info& plane) {
  return Record(env)
      .Define("format", plane.drm_format)
      .Define("modifier", plane.drm_format_mod)
      .Define("width", plane.width)
      .Define("height", plane.height)
      .Define("stride", plane.stride)
      .Define("size", plane.size)
      .Define("x", plane.x_pos)
      .Define("y", plane.y_pos)
      .Define("hotX", plane.x_hot)
      .Define("hotY", plane.y_hot)
      .Define("id", plane.dmabuf_id);
}

namespace {

// vfioDevice(fd, address): VfioDevice
std::shared_ptr<core::VfioDevice> VfioDevice(const std::shared_ptr<core::Fd>& fd, const std::string& address) {
  return std::make_shared<core::VfioDevice>(fd, address);
}

// vfioClose(device, async): the fd closes when the last call and the last mapping that use it end.
Napi::Value VfioClose(const Napi::CallbackInfo& info) {
  auto device = std::move(Unbox<core::VfioDevice>(info[0]));
  if (device) device->Close();
  return Release(info.Env(), info[1], std::move(device));
}

// vfioWord(device): () => number, a function that returns the device's state word, also after vfioClose()
Napi::Value VfioWord(Napi::Env env, const core::VfioDevice& device) { return WordFunction(env, device.state()); }

// A device and a page table for it. The device's share is destroyed first: if the device was closed during the call,
// that detaches it, and the page table can then be destroyed.
struct Attachment {
  std::shared_ptr<core::IommufdObject> table;
  std::shared_ptr<core::VfioDevice> device;
};

Attachment ToAttachment(const Napi::CallbackInfo& info) {
  auto table = UnwrapPageTable(info[1]);
  return {.table = std::move(table), .device = Unwrap<core::VfioDevice>(info[0])};
}

// vfioAttach(device, IOAS or HWPT, async): number
Napi::Value VfioAttach(const Napi::CallbackInfo& info) {
  const auto attach = [to = ToAttachment(info)] { return to.device->Attach(to.table->id()); };
  return Run(info.Env(), info[2], attach, ToJs<uint32_t>);
}

// vfioAttachPasid(device, IOAS or HWPT, pasid, async): number
Napi::Value VfioAttachPasid(const Napi::CallbackInfo& info) {
  const auto attach = [to = ToAttachment(info), pasid = ToU32(info[2])] {
    return to.device->AttachPasid(to.table->id(), pasid);
  };
  return Run(info.Env(), info[3], attach, ToJs<uint32_t>);
}

// vfioRead(device, offset, Uint8Array): number of bytes
double VfioRead(const core::VfioDevice& device, uint64_t offset, Napi::Uint8Array bytes) {
  return static_cast<double>(device.Read(offset, bytes.Data(), bytes.ByteLength()));
}

// vfioWrite(device, offset, Uint8Array): number of bytes
double VfioWrite(core::VfioDevice& device, uint64_t offset, Napi::Uint8Array bytes) {
  return static_cast<double>(device.Write(offset, bytes.Data(), bytes.ByteLength()));
}

// vfioMap(device, offset, length, writable): Mapping
std::shared_ptr<core::Mapping> VfioMap(const core::VfioDevice& device, uint64_t offset, uint64_t length,
                                       bool writable) {
  return device.Map(offset, length, writable ? PROT_READ | PROT_WRITE : PROT_READ);
}

}  // namespace

void InitVfioDevice(Napi::Env env, Napi::Object exports) {
  Export<VfioDevice>(env, exports, "vfioDevice");
  Export<VfioClose>(env, exports, "vfioClose");
  Export<VfioWord>(env, exports, "vfioWord");
  ExportAsync<&core::VfioDevice::Bind>(env, exports, "vfioBind");
  Export<VfioAttach>(env, exports, "vfioAttach");
  Export<VfioAttachPasid>(env, exports, "vfioAttachPasid");
  ExportAsync<&core::VfioDevice::DetachPasid>(env, exports, "vfioDetachPasid");
  ExportAsync<&core::VfioDevice::Detach>(env, exports, "vfioDetach");
  Export<&core::VfioDevice::GetInfo>(env, exports, "vfioInfo");
  Export<&core::VfioDevice::GetRegionInfo>(env, exports, "vfioRegionInfo");
  Export<&core::VfioDevice::GetIrqInfo>(env, exports, "vfioIrqInfo");
  Export<VfioRead>(env, exports, "vfioRead");
  Export<VfioWrite>(env, exports, "vfioWrite");
  Export<VfioMap>(env, exports, "vfioMap");
  Export<&core::VfioDevice::Probe>(env, exports, "vfioProbe");
  Export<&core::VfioDevice::SetVfToken>(env, exports, "vfioSetVfToken");
  Export<&core::VfioDevice::SetBusMaster>(env, exports, "vfioSetBusMaster");
  Export<&core::VfioDevice::ZpciError>(env, exports, "vfioZpciError");
  Export<&core::VfioDevice::ExportDmaBuf>(env, exports, "vfioExportDmaBuf");
  Export<core::ProbeGfxPlane>(env, exports, "gfxProbe");
  Export<core::QueryGfxPlane>(env, exports, "gfxPlane");
  Export<core::GetGfxDmaBuf>(env, exports, "gfxDmaBuf");
}

}  // namespace binding
