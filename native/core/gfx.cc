// The plane ioctls of a VFIO device.
#include "core/gfx.h"

#include <cerrno>

namespace core {

bool ProbeGfxPlane(const VfioDevice& device, uint32_t kind) {
  uapi::vfio_device_gfx_plane_info info = {.argsz = sizeof(info), .flags = uapi::VFIO_GFX_PLANE_TYPE_PROBE | kind};
  const int result = device.fd().Ask(VFIO_DMABUF_REQUEST(VFIO_DEVICE_QUERY_GFX_PLANE), &info);
  if (result == -EINVAL || result == -ENOTTY) return false;
  Check(result, "ioctl", "VFIO_DEVICE_QUERY_GFX_PLANE");
  return true;
}

uapi::vfio_device_gfx_plane_info QueryGfxPlane(const VfioDevice& device, uint32_t kind, uint32_t plane) {
  return device.fd().Call(VFIO_DMABUF_REQUEST(VFIO_DEVICE_QUERY_GFX_PLANE),
                          uapi::vfio_device_gfx_plane_info{.flags = kind, .drm_plane_type = plane});
}

// Drivers make the fd without close-on-exec (mbochs does): it is replaced by a duplicate that has it.
std::shared_ptr<Fd> GetGfxDmaBuf(const VfioDevice& device, uint32_t id) {
  const Fd given(device.fd().kernel(), device.fd().Ioctl(VFIO_DMABUF_REQUEST(VFIO_DEVICE_GET_GFX_DMABUF), &id));
  return Fd::Duplicate(device.fd().kernel(), given.number());
}

}  // namespace core
