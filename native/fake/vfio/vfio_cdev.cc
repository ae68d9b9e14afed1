// Binding a cdev to an iommufd, and calls to its device.
#include "fake/vfio/vfio_cdev.h"

#include <fcntl.h>

#include <array>

#include "fake/files/user_memory.h"
#include "fake/vfio/vfio_group.h"

namespace fake {

static constexpr std::size_t kMostBounced = 4096;

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
  if (!bound_) return -EINVAL;
  if (size > kMostBounced) return device_->ReadRegion(offset, buffer, size);
  std::array<uint8_t, kMostBounced> bytes;  // not the caller's memory, which may be bad
  const int64_t read = device_->ReadRegion(offset, bytes.data(), size);
  return read <= 0 || CopyToUser(buffer, bytes.data(), static_cast<std::size_t>(read)) ? read : -EFAULT;
}

int64_t VfioDeviceFile::Pwrite(const void* buffer, std::size_t size, uint64_t offset) {
  if (!bound_) return -EINVAL;
  if (size > kMostBounced) return device_->WriteRegion(offset, buffer, size);
  std::array<uint8_t, kMostBounced> bytes;
  return CopyFromUser(bytes.data(), buffer, size) ? device_->WriteRegion(offset, bytes.data(), size) : -EFAULT;
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
