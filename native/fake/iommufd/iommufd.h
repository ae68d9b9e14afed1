// /dev/iommu: the table of numbered objects. iommufd_commands.h lists the commands by the file that implements them.
#pragma once

#include <sys/mman.h>

#include <map>
#include <memory>
#include <optional>

#include "fake/files/device_numbers.h"
#include "fake/files/file.h"
#include "fake/iommu/io_address_space.h"
#include "fake/iommufd/iommufd_object.h"

namespace fake {

class Iommufd : public File, public std::enable_shared_from_this<Iommufd> {
 public:
  // `iommu` is in front of the machine's devices.
  Iommufd(FileTable& table, std::shared_ptr<const Iommu> iommu) : table_(table), iommu_(std::move(iommu)) {}
  ~Iommufd() override;

  int Ioctl(uapi::request_t request, void* argument) override;
  bool TakesArgument(uapi::request_t) const override { return false; }
  // There are no pages of hardware queues to map.
  int Mmap(std::size_t, int, int flags, uint64_t, kernel::MappedPages*) override {
    return (flags & MAP_SHARED) == 0 ? -EINVAL : -ENXIO;
  }
  std::string Path() override { return "/dev/iommu"; }
  dev_t DeviceNumber() override { return IommufdNumber(); }

  // Gives the object its number: the lowest free one from 1.
  uint32_t Add(std::shared_ptr<IommufdObject> object);
  // nullptr: there is no such object, or it is of another kind.
  template <typename T>
  std::shared_ptr<T> Find(uint32_t id) const {
    const auto found = objects_.find(id);
    return found == objects_.end() ? nullptr : std::dynamic_pointer_cast<T>(found->second);
  }
  const std::map<uint32_t, std::shared_ptr<IommufdObject>>& objects() const { return objects_; }
  // Removes it from the table; it is destroyed with its last user.
  void Remove(uint32_t id);
  // The same, and its number is not used again.
  void Bury(uint32_t id);

  // For VFIO devices. Attach returns the id of the HWPT that serves the device, or a negated errno.
  uint32_t AddDevice(std::optional<uint32_t> group = {});
  void RemoveDevice(uint32_t device);
  int Attach(uint32_t device, uint32_t page_table, uint32_t pasid = 0);
  void Detach(uint32_t device, uint32_t pasid = 0);
  // nullptr: the device is attached to nothing.
  const IoAddressSpace* AddressSpaceOf(uint32_t device) const;

  FileTable& table() { return table_; }

  uint64_t rlimit_mode = 0;  // IOMMU_OPTION_RLIMIT_MODE
  uint32_t vfio_ioas = 0;    // the IOAS of VFIO's container ioctls; 0: none

 private:
  FileTable& table_;
  std::shared_ptr<const Iommu> iommu_;
  std::map<uint32_t, std::shared_ptr<IommufdObject>> objects_;
};

}  // namespace fake
