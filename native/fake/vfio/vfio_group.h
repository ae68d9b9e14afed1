// /dev/vfio/N, and devices that are opened through it. The rules are those of drivers/vfio/group.c; every group is
// viable.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "fake/files/device_numbers.h"
#include "fake/files/file.h"
#include "fake/iommufd/iommufd.h"
#include "fake/vfio/vfio_cdev.h"
#include "fake/vfio/vfio_container.h"

namespace fake {

// An IOMMU group whose devices have VFIO drivers.
class VfioGroup {
 public:
  explicit VfioGroup(unsigned number) : number_(number) {}

  unsigned number() const { return number_; }
  void Add(std::shared_ptr<CdevDevice> device) { devices_.push_back(std::move(device)); }
  const std::vector<std::shared_ptr<CdevDevice>>& devices() const { return devices_; }

  // Either its file is open, once, or its devices are bound through their cdevs.
  bool open = false;
  unsigned bound_devices = 0;
  // At most one of the two is set. The DMA of the devices goes through it.
  std::shared_ptr<VfioContainer> container;
  std::shared_ptr<Iommufd> iommufd;
  // Whether the firmware needs a mapping of memory for a device. VFIO begins with a domain without any, so the kernel
  // gives it no such group (__iommu_device_set_domain()).
  bool firmware_region = false;
  unsigned users = 0;  // open devices, as long as there is a container
  unsigned owned = 0;  // open devices that an iommufd has, also after that is unset

 private:
  unsigned number_;
  std::vector<std::shared_ptr<CdevDevice>> devices_;
};

// The open file of a group.
class VfioGroupFile : public File, public std::enable_shared_from_this<VfioGroupFile> {
 public:
  VfioGroupFile(std::shared_ptr<VfioGroup> group, FileTable& table) : group_(std::move(group)), table_(table) {
    group_->open = true;
  }
  ~VfioGroupFile() override;

  int Ioctl(uapi::request_t request, void* argument) override;
  bool TakesArgument(uapi::request_t request) const override {
    return request >= uapi::VFIO_GROUP_GET_STATUS && request <= uapi::VFIO_GROUP_GET_DEVICE_FD;
  }
  std::string Path() override { return "/dev/vfio/" + std::to_string(group_->number()); }
  dev_t DeviceNumber() override { return makedev(kVfioGroupMajor, group_->number()); }
  const std::shared_ptr<VfioGroup>& group() const { return group_; }

 private:
  int GetStatus(uapi::vfio_group_status& status) const;
  int SetContainer(int fd);
  int UnsetContainer();
  int GetDeviceFd(const std::string& name);
  void LetGo();

  std::shared_ptr<VfioGroup> group_;
  FileTable& table_;
};

// A device that was opened through its group.
class VfioGroupDevice : public VfioDeviceFile {
 public:
  // `group` is nullptr if the group's file may close before the device's.
  VfioGroupDevice(std::shared_ptr<CdevDevice> device, std::shared_ptr<VfioGroupFile> group)
      : VfioDeviceFile(std::move(device)), group_(std::move(group)) {
    bound_ = true;
  }
  ~VfioGroupDevice() override REQUIRES(device_->lock_);

  int Ioctl(uapi::request_t request, void* argument) override REQUIRES(device_->lock_);
  std::string Path() override { return "anon_inode:[vfio-device]"; }

 private:
  std::shared_ptr<VfioGroupFile> group_;
};

}  // namespace fake
