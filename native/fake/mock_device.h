// A mock device as an object of an iommufd: it brings a device with it, bound and attached, and takes that along.
#pragma once

#include <array>

#include "fake/iommufd_device.h"

namespace fake {

class MockDevice : public IommufdObject {
 public:
  explicit MockDevice(std::shared_ptr<IommufdDevice> device) : device_(std::move(device)) { cache.fill(0xbaddad); }

  void Leave(Iommufd& iommufd) override { iommufd.RemoveDevice(device_->id); }
  IommufdDevice& device() const { return *device_; }

  std::array<uint32_t, 4> cache;  // what a test can see of the device's own TLB

 private:
  std::shared_ptr<IommufdDevice> device_;
};

}  // namespace fake
