// A mock device as an object of an iommufd: it brings a device with it, bound and attached, and takes that along.
#pragma once

#include <array>

#include "fake/iommufd/iommufd_device.h"

namespace fake {

class MockDevice : public IommufdObject {
 public:
  explicit MockDevice(std::shared_ptr<IommufdDevice> device) : device_(std::move(device)) { cache.fill(0xbaddad); }

  void Leave(Iommufd& iommufd) override { iommufd.RemoveDevice(device_->id); }
  // The one that brought this device; nullptr: it is of another kind.
  static std::shared_ptr<MockDevice> Of(const Iommufd& iommufd, uint32_t device) {
    for (const auto& [_, object] : iommufd.objects()) {
      auto mock = std::dynamic_pointer_cast<MockDevice>(object);
      if (mock && mock->device().id == device) return mock;
    }
    return nullptr;
  }
  IommufdDevice& device() const { return *device_; }

  std::array<uint32_t, 4> cache;  // what a test can see of the device's own TLB

 private:
  std::shared_ptr<IommufdDevice> device_;
};

}  // namespace fake
