// /dev/iommu: numbered objects (IOASes, HWPTs, devices) and the ioctls on them.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <variant>

#include "fake/file.h"
#include "fake/io_address_space.h"

namespace fake {

class Iommufd : public File {
 public:
  Iommufd(FileTable& table, IommuLimits limits) : table_(table), limits_(std::move(limits)) {}

  int Ioctl(uapi::request_t request, void* argument) override;

  // For VFIO devices. Attach returns the id of the HWPT that serves the device, or a negated errno.
  uint32_t AddDevice();
  void RemoveDevice(uint32_t device) { objects_.erase(device); }
  int Attach(uint32_t device, uint32_t page_table);
  void Detach(uint32_t device);
  // nullptr: the device is attached to nothing.
  const IoAddressSpace* AddressSpaceOf(uint32_t device) const;

  std::size_t object_count() const { return objects_.size(); }

 private:
  struct Ioas {
    IoAddressSpace space;
  };
  struct Hwpt {  // made by the first attachment to an IOAS, gone with the last
    uint32_t ioas;
    unsigned users;
  };
  struct Device {
    uint32_t hwpt;  // 0: not attached
  };
  using Object = std::variant<Ioas, Hwpt, Device>;

  uint32_t Add(Object object);
  template <typename T>
  T* Find(uint32_t id);
  uint32_t HwptOf(uint32_t ioas) const;

  int Destroy(uapi::iommu_destroy& command);
  int IoasAlloc(uapi::iommu_ioas_alloc& command);
  int IoasIovaRanges(uapi::iommu_ioas_iova_ranges& command);
  int IoasMap(uapi::iommu_ioas_map& command);
  int IoasMapFile(uapi::iommu_ioas_map_file& command);
  int IoasCopy(uapi::iommu_ioas_copy& command);
  int IoasUnmap(uapi::iommu_ioas_unmap& command);

  FileTable& table_;
  IommuLimits limits_;
  std::map<uint32_t, Object> objects_;
};

}  // namespace fake
