// The ioctls of a VFIO device: information, binding, attaching, and access to regions.
#include "core/vfio.h"

#include <cstring>

namespace core {

VfioDevice::VfioDevice(std::shared_ptr<Fd> fd, const std::string& address)
    : file_(std::make_shared<DeviceFile>(std::move(fd), address)), fd_(&file_->fd()), state_(file_->state().get()) {
  const kernel::Lock lock(state_->config_mutex);
  LookAtMemory();
}

uint32_t VfioDevice::Bind(std::shared_ptr<Fd> iommufd, const std::optional<Token>& token) {
  uapi::vfio_device_bind_iommufd command = {.argsz = sizeof(command), .iommufd = iommufd->number()};
  if (token) {
    command.flags = uapi::VFIO_DEVICE_BIND_FLAG_TOKEN;
    command.token_uuid_ptr = reinterpret_cast<uintptr_t>(token->data());
  }
  fd_->Ioctl(VFIO_DMABUF_REQUEST(VFIO_DEVICE_BIND_IOMMUFD), &command);
  iommufd_ = std::move(iommufd);
  const kernel::Lock lock(state_->config_mutex);
  state_->low_power = false;
  LookAtMemory();
  return command.out_devid;
}

uint32_t VfioDevice::Attach(uint32_t page_table) const {
  return fd_
      ->Call(VFIO_DMABUF_REQUEST(VFIO_DEVICE_ATTACH_IOMMUFD_PT),
             uapi::vfio_device_attach_iommufd_pt{.pt_id = page_table})
      .pt_id;
}

void VfioDevice::Detach() const {
  fd_->Call(VFIO_DMABUF_REQUEST(VFIO_DEVICE_DETACH_IOMMUFD_PT), uapi::vfio_device_detach_iommufd_pt{});
}

uint32_t VfioDevice::AttachPasid(uint32_t page_table, uint32_t pasid) const {
  return fd_
      ->Call(VFIO_DMABUF_REQUEST(VFIO_DEVICE_ATTACH_IOMMUFD_PT),
             uapi::vfio_device_attach_iommufd_pt{
                 .flags = uapi::VFIO_DEVICE_ATTACH_PASID, .pt_id = page_table, .pasid = pasid})
      .pt_id;
}

void VfioDevice::DetachPasid(uint32_t pasid) const {
  fd_->Call(VFIO_DMABUF_REQUEST(VFIO_DEVICE_DETACH_IOMMUFD_PT),
            uapi::vfio_device_detach_iommufd_pt{.flags = uapi::VFIO_DEVICE_DETACH_PASID, .pasid = pasid});
}

InfoWithCapabilities<uapi::vfio_device_info> VfioDevice::GetInfo() const {
  return QueryInfo<uapi::vfio_device_info>(*fd_, VFIO_DMABUF_REQUEST(VFIO_DEVICE_GET_INFO), {});
}

InfoWithCapabilities<uapi::vfio_region_info> VfioDevice::GetRegionInfo(uint32_t index) const {
  return QueryInfo<uapi::vfio_region_info>(*fd_, VFIO_DMABUF_REQUEST(VFIO_DEVICE_GET_REGION_INFO), {.index = index});
}

uapi::vfio_irq_info VfioDevice::GetIrqInfo(uint32_t index) const {
  return fd_->Call(VFIO_DMABUF_REQUEST(VFIO_DEVICE_GET_IRQ_INFO), uapi::vfio_irq_info{.index = index});
}

std::size_t VfioDevice::Read(uint64_t offset, void* buffer, std::size_t size) const {
  return static_cast<std::size_t>(Check(fd_->kernel()->Pread(fd_->number(), buffer, size, offset), "pread"));
}

std::size_t VfioDevice::Write(uint64_t offset, const void* buffer, std::size_t size) {
  const auto config = ConfigSpace();
  if (config && offset - config->offset < config->size) {
    return WriteConfig(*config, offset - config->offset, buffer, size);
  }
  return static_cast<std::size_t>(Check(fd_->kernel()->Pwrite(fd_->number(), buffer, size, offset), "pwrite"));
}

std::shared_ptr<Mapping> VfioDevice::Map(uint64_t offset, std::size_t length, int protection) const {
  // Another process may have bound the fd after this object was made.
  {
    const kernel::Lock lock(state_->config_mutex);
    LookAtMemory();
  }
  const std::shared_ptr<const std::atomic<bool>> enabled(state(), &state_->memory_enabled);
  const std::shared_ptr<Fd> fd(file_, file_->shared_fd().get());
  return std::make_shared<Mapping>(fd, offset, length, protection, enabled);
}

}  // namespace core
