// The planes of a VFIO device that is a virtual display.
#pragma once

#include <memory>

#include "core/vfio.h"

namespace core {

// Whether the device offers its planes as `kind`; `kind` is VFIO_GFX_PLANE_TYPE_DMABUF or _REGION. An unknown ioctl is
// false; other errors are thrown.
bool ProbeGfxPlane(const VfioDevice& device, uint32_t kind);
uapi::vfio_device_gfx_plane_info QueryGfxPlane(const VfioDevice& device, uint32_t kind, uint32_t plane);
// The dma-buf of a plane that a query returned.
std::shared_ptr<Fd> GetGfxDmaBuf(const VfioDevice& device, uint32_t id);

}  // namespace core
