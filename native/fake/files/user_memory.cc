// Copies from and to the caller's memory with process_vm_readv(2) and process_vm_writev(2).
#include "fake/files/user_memory.h"

#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "uapi/dma_buf.h"
#include "uapi/vfio.h"

namespace fake {
namespace {

struct Argument {
  uapi::request_t request;
  std::size_t size;
};

// The smallest size that the kernel reads for requests whose code does not contain a size. Devices and containers share
// some codes; a container that reads more checks that itself.
constexpr Argument kArguments[] = {
    {uapi::VFIO_GROUP_GET_STATUS, sizeof(uapi::vfio_group_status)},
    {uapi::VFIO_GROUP_SET_CONTAINER, sizeof(int32_t)},
    {uapi::VFIO_IOMMU_UNMAP_DMA, sizeof(uapi::vfio_iommu_type1_dma_unmap)},
    {uapi::VFIO_DEVICE_GET_INFO, offsetof(uapi::vfio_device_info, cap_offset)},
    {uapi::VFIO_DEVICE_GET_REGION_INFO, sizeof(uapi::vfio_region_info)},
    {uapi::VFIO_DEVICE_GET_IRQ_INFO, sizeof(uapi::vfio_irq_info)},
    {uapi::VFIO_DEVICE_SET_IRQS, sizeof(uapi::vfio_irq_set)},
    {uapi::VFIO_DEVICE_IOEVENTFD, sizeof(uapi::vfio_device_ioeventfd)},
    {uapi::VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, sizeof(uapi::vfio_pci_hot_reset_info)},
    {uapi::VFIO_DEVICE_PCI_HOT_RESET, sizeof(uapi::vfio_pci_hot_reset)},
    {uapi::VFIO_DEVICE_FEATURE, sizeof(uapi::vfio_device_feature)},
    {uapi::VFIO_DEVICE_BIND_IOMMUFD, offsetof(uapi::vfio_device_bind_iommufd, token_uuid_ptr)},
    {uapi::VFIO_DEVICE_GET_GFX_DMABUF, sizeof(uint32_t)},
    {uapi::VFIO_MIG_GET_PRECOPY_INFO, sizeof(uapi::vfio_precopy_info)},
    {uapi::VFIO_DEVICE_ATTACH_IOMMUFD_PT, offsetof(uapi::vfio_device_attach_iommufd_pt, pasid)},
    {uapi::VFIO_DEVICE_DETACH_IOMMUFD_PT, offsetof(uapi::vfio_device_detach_iommufd_pt, pasid)},
};

std::size_t SizeOfArgument(uapi::request_t request) {
  if (request == uapi::DMA_BUF_SET_NAME_A || request == uapi::DMA_BUF_SET_NAME_B) return 0;  // a string
  const std::size_t told = request >> 16 & 0x3fff;
  if (told != 0) return told;
  const auto known = std::ranges::find(kArguments, request, &Argument::request);
  return known == std::end(kArguments) ? 0 : known->size;
}

// Copies with a system call, which fails with EFAULT for bad memory. If the call is not permitted (seccomp), copies
// without a check.
template <typename Call>
bool Copy(const Call& call, void* local, const void* remote, std::size_t size, void* to, const void* from) {
  if (size == 0) return true;
  const struct iovec here = {local, size};
  const struct iovec there = {const_cast<void*>(remote), size};
  const ssize_t moved = call(getpid(), &here, 1UL, &there, 1UL, 0UL);
  if (moved >= 0) return static_cast<std::size_t>(moved) == size;
  if (errno == EFAULT) return false;
  std::memcpy(to, from, size);
  return true;
}

}  // namespace

bool CopyFromUser(void* to, const void* from, std::size_t size) {
  return Copy(process_vm_readv, to, from, size, to, from);
}

bool CopyToUser(void* to, const void* from, std::size_t size) {
  return Copy(process_vm_writev, const_cast<void*>(from), to, size, to, from);
}

std::optional<std::string> CopyStringFromUser(const char* from, std::size_t most) {
  std::string string;
  for (char byte = 0; string.size() < most; string.push_back(byte)) {
    if (!CopyFromUser(&byte, from + string.size(), 1)) return std::nullopt;
    if (byte == 0) break;
  }
  return string;
}

bool UserBitmap::Set(uint64_t first, uint64_t last) {
  const uint64_t start = first / 8;
  const auto bytes = CopyArrayFromUser<uint8_t>(UserPointer(address_ + start), last / 8 - start + 1);
  if (!bytes) return false;
  auto changed = *bytes;
  for (uint64_t bit = first; bit <= last; ++bit) {
    uint8_t& byte = changed.at(bit / 8 - start);
    byte = static_cast<uint8_t>(byte | 1U << bit % 8);
  }
  return CopyToUser(WritableUserPointer(address_ + start), changed.data(), changed.size());
}

bool IsArgumentThere(uapi::request_t request, const void* argument) {
  std::vector<uint8_t> ignored(SizeOfArgument(request));
  return CopyFromUser(ignored.data(), argument, ignored.size());
}

}  // namespace fake
