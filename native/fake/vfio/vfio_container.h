// /dev/vfio/vfio: groups that share one IOMMU. The rules are those of drivers/vfio/container.c.
#pragma once

#include <memory>
#include <set>

#include "fake/files/device_numbers.h"
#include "fake/files/file.h"
#include "fake/vfio/type1_iommu.h"

namespace fake {

class VfioGroup;

// Lives as long as its file or a group in it.
class VfioContainer {
 public:
  VfioContainer(const BarMappings& bars, const Iommu& iommu) : bars_(bars), iommu_(iommu) {}

  int Ioctl(uapi::request_t request, void* argument);
  int Attach(const VfioGroup* group);
  // The last group's removal destroys the IOMMU and all mappings.
  void Detach(const VfioGroup* group);
  bool has_iommu() const { return iommu_driver_ != nullptr; }
  // nullptr: nothing translates.
  const IoAddressSpace* space() const { return iommu_driver_ ? &iommu_driver_->space() : nullptr; }

 private:
  int SetIommu(uint64_t type);

  const BarMappings& bars_;
  const Iommu& iommu_;  // in front of the machine's devices
  std::set<const VfioGroup*> groups_;
  std::unique_ptr<Type1Iommu> iommu_driver_;
};

class VfioContainerFile : public File {
 public:
  explicit VfioContainerFile(std::shared_ptr<VfioContainer> container) : container_(std::move(container)) {}

  int Ioctl(uapi::request_t request, void* argument) override { return container_->Ioctl(request, argument); }
  bool TakesArgument(uapi::request_t request) const override {
    return container_->has_iommu() && request >= uapi::VFIO_IOMMU_GET_INFO;
  }
  std::string Path() override { return "/dev/vfio/vfio"; }
  dev_t DeviceNumber() override { return VfioContainerNumber(); }
  const std::shared_ptr<VfioContainer>& container() const { return container_; }

 private:
  std::shared_ptr<VfioContainer> container_;
};

}  // namespace fake
