// The ioctls of a VFIO group.
#include "core/vfio_group.h"

#include "uapi/vfio.h"

namespace core {

uint32_t GetGroupStatus(const Fd& group) {
  return group.Call(VFIO_DMABUF_REQUEST(VFIO_GROUP_GET_STATUS), uapi::vfio_group_status{}).flags;
}

void SetContainer(const Fd& group, const Fd& container) {
  int number = container.number();
  group.Ioctl(VFIO_DMABUF_REQUEST(VFIO_GROUP_SET_CONTAINER), &number);
}

void UnsetContainer(const Fd& group) { group.Ioctl(VFIO_DMABUF_REQUEST(VFIO_GROUP_UNSET_CONTAINER), nullptr); }

std::shared_ptr<Fd> GetDeviceFd(const Fd& group, const std::string& name) {
  std::string text = name;
  const int number = group.Ioctl(VFIO_DMABUF_REQUEST(VFIO_GROUP_GET_DEVICE_FD), text.data());
  return std::make_shared<Fd>(group.kernel(), number);
}

}  // namespace core
