// Functions of a VFIO device's virtual display: its planes, as regions or dma-bufs.
#include "core/gfx.h"

#include "binding/addon.h"
#include "binding/call.h"
#include "binding/handle.h"

namespace binding {
namespace {

// gfxProbe(device, kind): boolean
Napi::Value GfxProbe(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  const uint32_t kind = ToU32(info[1]);
  return Napi::Boolean::New(info.Env(), core::ProbeGfxPlane(*device, kind));
}

// gfxPlane(device, kind, plane): NativePlane
Napi::Value GfxPlane(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  const uint32_t kind = ToU32(info[1]);
  const uint32_t type = ToU32(info[2]);
  const auto plane = core::QueryGfxPlane(*device, kind, type);
  Record result(env);
  result.Define("format", plane.drm_format);
  result.Define("modifier", FromU64(env, plane.drm_format_mod));
  result.Define("width", plane.width);
  result.Define("height", plane.height);
  result.Define("stride", plane.stride);
  result.Define("size", plane.size);
  result.Define("x", plane.x_pos);
  result.Define("y", plane.y_pos);
  result.Define("hotX", plane.x_hot);
  result.Define("hotY", plane.y_hot);
  result.Define("id", plane.dmabuf_id);
  return result;
}

// gfxDmaBuf(device, id): Fd
Napi::Value GfxDmaBuf(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  const uint32_t id = ToU32(info[1]);
  return Wrap(info.Env(), core::GetGfxDmaBuf(*device, id));
}

}  // namespace

void InitGfx(Napi::Env env, Napi::Object exports) {
  Export<GfxProbe>(env, exports, "gfxProbe");
  Export<GfxPlane>(env, exports, "gfxPlane");
  Export<GfxDmaBuf>(env, exports, "gfxDmaBuf");
}

}  // namespace binding
