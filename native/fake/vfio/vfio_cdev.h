// /dev/vfio/devices/vfioN, and the interface of the devices behind it. The rules that hold for every device are those
// of drivers/vfio/device_cdev.c and vfio_main.c.
#pragma once

#include <memory>
#include <string>

#include "fake/files/device_numbers.h"
#include "fake/files/file.h"
#include "fake/iommufd/iommufd.h"
#include "kernel/mutex.h"
#include "kernel/non_copyable.h"
#include "uapi/vfio.h"

namespace fake {

// Drivers of PCI devices place a region at its index << kRegionShift in the device's file.
constexpr unsigned kRegionShift = 40;
constexpr uint64_t kRegionOffsetMask = (uint64_t{1} << kRegionShift) - 1;
constexpr uint32_t kReadWrite = uapi::VFIO_REGION_INFO_FLAG_READ | uapi::VFIO_REGION_INFO_FLAG_WRITE;

class VfioContainer;
class VfioGroup;

// A device that a VFIO driver is bound to. The caller holds the fake kernel's lock.
class CdevDevice : private kernel::NonCopyable {
 public:
  CdevDevice(std::string cdev, FileTable& table, kernel::Mutex& lock)
      : table_(table), lock_(lock), cdev_(std::move(cdev)) {}
  virtual ~CdevDevice() = default;

  // Succeeds for one open file at a time.
  virtual int Bind(const uapi::vfio_device_bind_iommufd& command, uint32_t* device_id) REQUIRES(lock_) = 0;
  virtual void Unbind() REQUIRES(lock_) = 0;
  virtual int Ioctl(uapi::request_t request, void* argument) REQUIRES(lock_) = 0;
  virtual int64_t ReadRegion(uint64_t offset, void* buffer, std::size_t size) REQUIRES(lock_) = 0;
  virtual int64_t WriteRegion(uint64_t offset, const void* buffer, std::size_t size) REQUIRES(lock_) = 0;
  virtual int Mmap(std::size_t length, int protection, int flags, uint64_t offset, kernel::MappedPages* out)
      REQUIRES(lock_) = 0;

  // Of devices that can be opened through their group. Whether `name` means this one: 1, 0, or a negated errno.
  virtual int Match(const std::string&) REQUIRES(lock_) { return 0; }
  // Opens the device; its DMA goes through the container, or through the iommufd's compatibility IOAS.
  virtual int OpenInGroup(const std::shared_ptr<VfioContainer>&, const std::shared_ptr<Iommufd>&) REQUIRES(lock_) {
    return -ENODEV;
  }
  virtual void CloseInGroup() REQUIRES(lock_) {}

  const std::string& cdev() const { return cdev_; }                                       // "vfio0"
  unsigned number() const { return static_cast<unsigned>(std::stoul(cdev_.substr(4))); }  // the 0 of it
  const std::string& syspath() const { return syspath_; }                                 // its folder below /sys
  VfioGroup* group() const { return group_; }
  // Tells the thread-safety analysis that the fake kernel's lock is held.
  void IsLocked() const ASSERT_HELD(lock_) {}
  void SetPlace(VfioGroup* group, std::string syspath) {
    group_ = group;
    syspath_ = std::move(syspath);
  }

 protected:
  friend class VfioDeviceFile;  // for lock_ in their rules
  friend class VfioCdev;
  friend class VfioGroupDevice;

  // The iommufd that a bind names: 0, or a negated errno.
  int FindIommufd(int fd, std::shared_ptr<Iommufd>* iommufd) REQUIRES(lock_);

  FileTable& table_;
  kernel::Mutex& lock_;  // the fake kernel's

 private:
  std::string cdev_;
  std::string syspath_;
  VfioGroup* group_ = nullptr;
};

// An open file of a device.
class VfioDeviceFile : public File, public std::enable_shared_from_this<VfioDeviceFile> {
 public:
  explicit VfioDeviceFile(std::shared_ptr<CdevDevice> device) : device_(std::move(device)) {}

  std::string Fdinfo(int) override { return "vfio-device-syspath: /sys" + device_->syspath() + "\n"; }
  int Ioctl(uapi::request_t request, void* argument) override REQUIRES(device_->lock_);
  bool TakesArgument(uapi::request_t request) const override {
    return bound_ || request == uapi::VFIO_DEVICE_BIND_IOMMUFD;
  }
  int64_t Read(void* buffer, std::size_t size) override REQUIRES(device_->lock_);
  int64_t Write(const void* buffer, std::size_t size) override REQUIRES(device_->lock_);
  int64_t Pread(void* buffer, std::size_t size, uint64_t offset) override REQUIRES(device_->lock_);
  int64_t Pwrite(const void* buffer, std::size_t size, uint64_t offset) override REQUIRES(device_->lock_);
  int Mmap(std::size_t length, int protection, int flags, uint64_t offset, kernel::MappedPages* out) override
      REQUIRES(device_->lock_);

 protected:
  const std::shared_ptr<CdevDevice> device_;
  bool bound_ = false;  // if not, all calls but the bind are refused

 private:
  uint64_t position_ = 0;
};

// A device that was opened through its cdev.
class VfioCdev : public VfioDeviceFile {
 public:
  using VfioDeviceFile::VfioDeviceFile;
  ~VfioCdev() override REQUIRES(device_->lock_);

  std::string Path() override { return "/dev/vfio/devices/" + device_->cdev(); }
  dev_t DeviceNumber() override { return makedev(kVfioDeviceMajor, device_->number()); }
  int Ioctl(uapi::request_t request, void* argument) override REQUIRES(device_->lock_);
};

}  // namespace fake
