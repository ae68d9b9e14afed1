// The VF token: a secret that the users of a physical function and of its virtual functions share. The rules are those
// of drivers/vfio/pci/vfio_pci_core.c.
#include <cstring>

#include "fake/files/user_memory.h"
#include "fake/pci/pci_device.h"

namespace fake {

int PciDevice::CheckToken(const uapi::vfio_device_bind_iommufd& command) {
  if ((command.flags & uapi::VFIO_DEVICE_BIND_FLAG_TOKEN) == 0) return CheckToken(std::nullopt);
  VfTokenBytes token;
  if (!CopyFromUser(token.data(), UserPointer(command.token_uuid_ptr), token.size())) return -EFAULT;
  return CheckToken(token);
}

// vfio_pci_core_match_token_uuid()
int PciDevice::CheckToken(const std::optional<VfTokenBytes>& token) {
  if (const auto physical = physical_.lock()) {
    physical->IsLockedWith(*this);
    return token == physical->vf_token_ ? 0 : -EACCES;
  }
  if (description_.virtual_functions == 0) return token ? -EINVAL : 0;
  if (vf_users_ > 0) return token == vf_token_ ? 0 : -EACCES;
  if (token) vf_token_ = *token;
  return 0;
}

void PciDevice::CountVfUser(int change) {
  const auto physical = physical_.lock();
  if (!physical) return;
  physical->IsLockedWith(*this);
  physical->vf_users_ += static_cast<unsigned>(change);
}

// vfio_pci_core_feature_token()
int PciDevice::VfToken(const uapi::vfio_device_feature& feature) {
  std::memcpy(vf_token_.data(), &feature + 1, vf_token_.size());
  return 0;
}

}  // namespace fake
