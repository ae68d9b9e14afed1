// Functions of a VFIO device's virtual display: its planes, as regions or dma-bufs.
#include "core/gfx.h"

#include "binding/addon.h"

namespace binding {

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

void InitGfx(Napi::Env env, Napi::Object exports) {
  Export<core::ProbeGfxPlane>(env, exports, "gfxProbe");
  Export<core::QueryGfxPlane>(env, exports, "gfxPlane");
  Export<core::GetGfxDmaBuf>(env, exports, "gfxDmaBuf");
}

}  // namespace binding
