// A mediated device: a device in software, without an IOMMU. The common part of Linux's samples (samples/vfio-mdev) and
// VFIO's core.
#pragma once

#include <memory>
#include <string>

#include "fake/iommufd/iommufd_access.h"
#include "fake/vfio/vfio_cdev.h"
#include "fake/vfio/vfio_features.h"

namespace fake {

struct MdevDescription {
  std::string cdev;
  std::string type;  // as the kernel calls it: "mtty-2"
};

class Mdev : public CdevDevice {
 public:
  Mdev(const MdevDescription& description, FileTable& table, kernel::Mutex& lock)
      : CdevDevice(description.cdev, table, lock) {}

  int Bind(const uapi::vfio_device_bind_iommufd& command, uint32_t* device_id) override REQUIRES(lock_);
  void Unbind() override REQUIRES(lock_);
  int Ioctl(uapi::request_t request, void* argument) override REQUIRES(lock_);
  int64_t ReadRegion(uint64_t offset, void* buffer, std::size_t size) override REQUIRES(lock_);
  int64_t WriteRegion(uint64_t offset, const void* buffer, std::size_t size) override REQUIRES(lock_);
  int Mmap(std::size_t, int, int, uint64_t, kernel::MappedPages*) override REQUIRES(lock_) { return -EINVAL; }

 protected:
  // The driver's part.
  struct Region {
    uint64_t size;
    uint64_t offset;  // in the file
    uint32_t flags;
  };
  virtual uint32_t regions() const { return uapi::VFIO_PCI_NUM_REGIONS; }
  virtual int GetRegion(uint32_t index, Region* region, uapi::vfio_region_info_cap_type* type) REQUIRES(lock_) = 0;
  virtual int GetIrqInfo(uapi::vfio_irq_info& info) REQUIRES(lock_) = 0;
  virtual int DriverIoctl(uapi::request_t, void*) REQUIRES(lock_) { return -ENOTTY; }
  virtual int Reset() REQUIRES(lock_) = 0;
  // 1, 2 or 4 bytes at a place of the file. False: nothing is there.
  virtual bool Read(uint64_t at, unsigned width, uint32_t* value) REQUIRES(lock_) = 0;
  virtual bool Write(uint64_t at, unsigned width, uint32_t value) REQUIRES(lock_) = 0;
  virtual void CloseDevice() REQUIRES(lock_) {}
  virtual Migration* migration() REQUIRES(lock_) { return nullptr; }
  virtual DmaLog* log() REQUIRES(lock_) { return nullptr; }

  bool asked_info_ GUARDED_BY(lock_) = false;  // the first VFIO_DEVICE_GET_INFO was made

 private:
  int GetInfo(uapi::vfio_device_info& info) REQUIRES(lock_);
  int GetRegionInfo(uapi::vfio_region_info& info) REQUIRES(lock_);

  std::shared_ptr<Iommufd> iommufd_ GUARDED_BY(lock_);  // none: not bound
  std::shared_ptr<IommufdAccess> access_ GUARDED_BY(lock_);
};

// nullptr: no such type.
std::shared_ptr<Mdev> MakeMdev(const MdevDescription& description, FileTable& table, kernel::Mutex& lock);

}  // namespace fake
