// Binding a cdev to an iommufd, and calls to its device.
#include "fake/vfio/vfio_cdev.h"

#include <fcntl.h>

#include "fake/vfio/vfio_group.h"

namespace fake {

int CdevDevice::FindIommufd(int fd, std::shared_ptr<Iommufd>* iommufd) {
  *iommufd = std::dynamic_pointer_cast<Iommufd>(table_.Find(fd));
  if (*iommufd) return 0;
  return fcntl(fd, F_GETFD) < 0 ? -EBADF : -EBADFD;
}

int VfioDeviceFile::Ioctl(uapi::request_t request, void* argument) {
  return bound_ ? device_->Ioctl(request, argument) : -EINVAL;
}

int64_t VfioDeviceFile::Read(void* buffer, std::size_t size) {
  const int64_t read = Pread(buffer, size, position_);
  if (read > 0) position_ += static_cast<uint64_t>(read);
  return read;
}

int64_t VfioDeviceFile::Write(const void* buffer, std::size_t size) {
  const int64_t written = Pwrite(buffer, size, position_);
  if (written > 0) position_ += static_cast<uint64_t>(written);
  return written;
}

int64_t VfioDeviceFile::Pread(void* buffer, std::size_t size, uint64_t offset) {
  return bound_ ? device_->ReadRegion(offset, buffer, size) : -EINVAL;
}

int64_t VfioDeviceFile::Pwrite(const void* buffer, std::size_t size, uint64_t offset) {
  return bound_ ? device_->WriteRegion(offset, buffer, size) : -EINVAL;
}

int VfioDeviceFile::Mmap(std::size_t length, int protection, int flags, uint64_t offset, kernel::MappedPages* out) {
  if (!bound_) return -EINVAL;
  const int result = device_->Mmap(length, protection, flags, offset, out);
  if (result != 0) return result;
  // A mapping keeps the file open. It ends without the lock.
  const auto let_go = [file = shared_from_this(), device = device_](void*) mutable {
    const kernel::Lock guard(device->lock_);
    file.reset();
  };
  out->hold = std::shared_ptr<void>(out->address, let_go);
  return 0;
}

VfioCdev::~VfioCdev() {
  if (!bound_) return;
  device_->Unbind();
  if (VfioGroup* group = device_->group()) --group->bound_devices;
}

int VfioCdev::Ioctl(uapi::request_t request, void* argument) {
  if (request == uapi::VFIO_DEVICE_BIND_IOMMUFD) {
    auto& command = *static_cast<uapi::vfio_device_bind_iommufd*>(argument);
    VfioGroup* group = device_->group();
    if (group && group->open) return -EBUSY;
    if (const int result = device_->Bind(command, &command.out_devid); result != 0) return result;
    bound_ = true;
    if (group) ++group->bound_devices;
    return 0;
  }
  return VfioDeviceFile::Ioctl(request, argument);
}

}  // namespace fake
