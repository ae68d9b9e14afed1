// VFIO_DEVICE_FEATURE: probing, small features, and the dma-buf export.
#include <fcntl.h>

#include <cerrno>
#include <cstring>

#include "core/vfio.h"

namespace core {

int VfioDevice::Feature(uint32_t flags, const char* name, void* payload, std::size_t size) const {
  const uapi::vfio_device_feature header = {.argsz = static_cast<uint32_t>(sizeof(header) + size), .flags = flags};
  std::vector<uint8_t> bytes(header.argsz);
  std::memcpy(bytes.data(), &header, sizeof(header));
  if (size > 0) std::memcpy(bytes.data() + sizeof(header), payload, size);
  const int result = fd_->Ioctl(uapi::VFIO_DEVICE_FEATURE, name, bytes.data());
  if (size > 0) std::memcpy(payload, bytes.data() + sizeof(header), size);
  return result;
}

bool VfioDevice::Probe(uint32_t feature, uint32_t operation) const {
  uapi::vfio_device_feature command = {.argsz = sizeof(command),
                                       .flags = feature | operation | uapi::VFIO_DEVICE_FEATURE_PROBE};
  const int result = fd_->Ask(VFIO_DMABUF_REQUEST(VFIO_DEVICE_FEATURE), &command);
  // A device that is not bound answers EINVAL to all ioctls.
  if (result == -EINVAL) [[maybe_unused]]
    const auto bound = GetInfo();
  // ENOTTY: an unknown feature. EINVAL: not for this operation. EOPNOTSUPP: the driver lacks it.
  if (result == -ENOTTY || result == -EINVAL || result == -EOPNOTSUPP) return false;
  Check(result, "ioctl", "VFIO_DEVICE_FEATURE");
  return true;
}

void VfioDevice::SetVfToken(const Token& token) const { Feature(VFIO_DMABUF_FEATURE(SET, PCI_VF_TOKEN), token); }

void VfioDevice::SetBusMaster(bool on) const {
  Feature(VFIO_DMABUF_FEATURE(SET, BUS_MASTER),
          uapi::vfio_device_feature_bus_master{.op = on ? uapi::VFIO_DEVICE_FEATURE_SET_MASTER
                                                        : uapi::VFIO_DEVICE_FEATURE_CLEAR_MASTER});
}

uint64_t VfioDevice::ZpciError() const {
  return Feature(VFIO_DMABUF_FEATURE(GET, ZPCI_ERROR), uapi::vfio_device_feature_zpci_err{}).data;
}

std::shared_ptr<Fd> VfioDevice::ExportDmaBuf(uint32_t region,
                                             const std::vector<uapi::vfio_region_dma_range>& ranges) const {
  const uapi::vfio_device_feature_dma_buf payload = {
      .region_index = region, .open_flags = O_RDWR | O_CLOEXEC, .nr_ranges = static_cast<uint32_t>(ranges.size())};
  const std::size_t ranges_size = ranges.size() * sizeof(ranges[0]);
  std::vector<uint8_t> bytes(sizeof(payload) + ranges_size);
  std::memcpy(bytes.data(), &payload, sizeof(payload));
  if (ranges_size > 0) std::memcpy(bytes.data() + sizeof(payload), ranges.data(), ranges_size);
  const int number = Feature(VFIO_DMABUF_FEATURE(GET, DMA_BUF), bytes.data(), bytes.size());
  struct Exported {
    Exported(std::shared_ptr<kernel::Kernel> kernel, int number) : fd(std::move(kernel), number) {}
    Fd fd;
    std::shared_ptr<Export> registration;  // lives as long as the fd and its mappings
  };
  auto exported = std::make_shared<Exported>(fd_->kernel(), number);
  std::shared_ptr<Fd> fd(exported, &exported->fd);
  exported->registration = Export::Register(fd, state(), static_cast<uint32_t>(ranges.size()));
  return fd;
}

}  // namespace core
