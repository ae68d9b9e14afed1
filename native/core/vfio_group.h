// The ioctls of a VFIO group (/dev/vfio/N), one typed function each.
#pragma once

#include <memory>
#include <string>

#include "core/fd.h"

namespace core {

// VFIO_GROUP_FLAGS_*
uint32_t GetGroupStatus(const Fd& group);
// `container` is a container, or an iommufd.
void SetContainer(const Fd& group, const Fd& container);
void UnsetContainer(const Fd& group);
// A new fd of the device, which holds the group's file. `name` may end with options: "0000:03:00.0 vf_token=UUID".
std::shared_ptr<Fd> GetDeviceFd(const Fd& group, const std::string& name);

}  // namespace core
