// A PCI device that is opened through its group.
#include <fcntl.h>

#include <charconv>
#include <optional>
#include <string_view>

#include "fake/files/user_memory.h"
#include "fake/pci/pci_device.h"

namespace fake {
namespace {

constexpr std::string_view kTokenOption = "vf_token=";
constexpr std::size_t kUuidLength = 36;

// 8-4-4-4-12 digits, as bytes in the order in which they are written.
bool ParseUuid(std::string_view text, uint8_t* out) {
  if (text.size() < kUuidLength) return false;
  unsigned digits = 0;
  for (std::size_t i = 0; i < kUuidLength; ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash != (text[i] == '-')) return false;
    if (dash) continue;
    uint8_t value = 0;
    if (std::from_chars(&text[i], &text[i] + 1, value, 16).ec != std::errc()) return false;
    out[digits / 2] = static_cast<uint8_t>(digits % 2 == 0 ? value << 4 : out[digits / 2] | value);
    ++digits;
  }
  return true;
}

}  // namespace

// vfio_pci_core_match(): the name may have one option, the VF token, once.
int PciDevice::Match(const std::string& name) {
  const auto& address = description_.address;
  if (!name.starts_with(address)) return 0;
  std::string_view rest = std::string_view(name).substr(address.size());
  if (!rest.empty() && rest[0] != ' ') return 0;
  std::optional<VfTokenBytes> token;
  while (!rest.empty()) {
    if (rest[0] == ' ') {
      rest.remove_prefix(1);
      continue;
    }
    if (token || !rest.starts_with(kTokenOption)) return -EINVAL;
    rest.remove_prefix(kTokenOption.size());
    token.emplace();
    if (!ParseUuid(rest.substr(0, kUuidLength), token->data())) return -EINVAL;
    rest.remove_prefix(kUuidLength);
  }
  const int refused = CheckToken(token);
  return refused == 0 ? 1 : refused;
}

// vfio_df_group_open()
int PciDevice::OpenInGroup(const std::shared_ptr<VfioContainer>& container, const std::shared_ptr<Iommufd>& iommufd) {
  if (iommufd && group() && group()->firmware_region) return -EINVAL;
  if (group_opens_++ > 0) return 0;
  container_ = container;
  Enable();
  if (!iommufd) return 0;
  iommufd_ = iommufd;
  device_id_ = iommufd_->AddDevice(description_.group);
  const int attached = iommufd_->vfio_ioas == 0 ? -ENODEV : iommufd_->Attach(device_id_, iommufd_->vfio_ioas);
  if (attached >= 0) return 0;
  CloseInGroup();
  return attached;
}

void PciDevice::CloseInGroup() {
  if (--group_opens_ > 0) return;
  if (iommufd_) {
    Unbind();
  } else {
    Disable();
  }
  container_.reset();
}

const IoAddressSpace* PciDevice::AddressSpace() const {
  if (iommufd_) return iommufd_->AddressSpaceOf(device_id_);
  return container_ ? container_->space() : nullptr;
}

// vfio_pci_ioctl_pci_hot_reset_groups()
int PciDevice::FindGroups(const uapi::vfio_pci_hot_reset& request, std::vector<const VfioGroup*>* groups) const {
  if (request.count > bus_.size()) return -EINVAL;
  const auto copied = CopyArrayFromUser<int32_t>(&request + 1, request.count);
  if (!copied) return -EFAULT;
  const auto& fds = *copied;
  for (uint32_t i = 0; i < request.count; ++i) {
    const auto file = table_.Find(fds[i]);
    if (!file && fcntl(fds[i], F_GETFD) < 0) return -EBADF;
    const auto named = std::dynamic_pointer_cast<VfioGroupFile>(file);
    if (!named) return -EINVAL;
    groups->push_back(named->group().get());
  }
  return 0;
}

}  // namespace fake
