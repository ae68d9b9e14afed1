// What a virtual display shows: the planes of a VFIO device.
#pragma once

#include <memory>

#include "core/vfio.h"

namespace core {

// Whether the device shows its planes so; `kind` is VFIO_GFX_PLANE_TYPE_DMABUF or _REGION. Unknown is an answer; other
// errors are thrown.
bool ProbeGfxPlane(const VfioDevice& device, uint32_t kind);
uapi::vfio_device_gfx_plane_info QueryGfxPlane(const VfioDevice& device, uint32_t kind, uint32_t plane);
// The picture that a query named.
std::shared_ptr<Fd> GetGfxDmaBuf(const VfioDevice& device, uint32_t id);

}  // namespace core
