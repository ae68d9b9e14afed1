// A mock device as an object of an iommufd. It makes a bound and attached IommufdDevice, and destroys it at its end.
#pragma once

#include <array>

#include "fake/iommufd/iommufd_device.h"

namespace fake {

class MockDevice : public IommufdObject {
 public:
  explicit MockDevice(std::shared_ptr<IommufdDevice> device) : device_(std::move(device)) { cache.fill(0xbaddad); }

  void Leave(Iommufd& iommufd) override { iommufd.RemoveDevice(device_->id); }
  // The mock device that made this device; nullptr: none.
  static std::shared_ptr<MockDevice> Of(const Iommufd& iommufd, uint32_t device) {
    for (const auto& [_, object] : iommufd.objects()) {
      auto mock = std::dynamic_pointer_cast<MockDevice>(object);
      if (mock && mock->device().id == device) return mock;
    }
    return nullptr;
  }
  IommufdDevice& device() const { return *device_; }

  std::array<uint32_t, 4> cache;  // the device's own TLB, which tests read

 private:
  std::shared_ptr<IommufdDevice> device_;
};

}  // namespace fake
