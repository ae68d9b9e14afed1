// A PCI device's interrupts and ioeventfds, as far as they involve its config space and BARs.
#include <algorithm>
#include <cstddef>

#include "fake/pci/pci_device.h"

namespace fake {
namespace {

constexpr std::size_t kMostIoeventfds = 1000;
// PCI 3.0, 6.2.2, 6.2.3, 6.8.1 and 6.8.2; offsets of control registers are from their capability's start.
constexpr std::size_t kCommandHigh = 0x05;
constexpr uint8_t kIntxDisable = 1U << 2;
constexpr std::size_t kStatus = 0x06;
constexpr uint8_t kInterruptPending = 1U << 3;
constexpr std::size_t kMsiControl = 2;
constexpr uint8_t kMsiEnable = 1U << 0;
constexpr uint8_t kMsiVectors = 7U << 4;
constexpr std::size_t kMsixControlHigh = 3;
constexpr uint8_t kMsixEnable = 1U << 7;

}  // namespace

void PciDevice::SendMsi(unsigned vector) {
  if (config_.BusMaster()) interrupts_.Deliver(vector);  // a message is a write
}

// The hardware's bits: vfio-pci presents MSI-X's enable bit as it is, and MSI's as the user wrote it.
int64_t PciDevice::ReadConfig(uint64_t offset, void* buffer, std::size_t size) const {
  const int64_t read = config_.Read(offset, buffer, size);
  if (read < 0) return read;
  auto* bytes = static_cast<uint8_t*>(buffer);
  const auto set = [&](std::size_t at, uint8_t bit, bool on) {
    if (on && at >= offset && at - offset < size) bytes[at - offset] |= bit;
  };
  set(kStatus, kInterruptPending, interrupts_.pin());
  set(config_.msix() + kMsixControlHigh, kMsixEnable, interrupts_.Is(uapi::VFIO_PCI_MSIX_IRQ_INDEX));
  return read;
}

// vfio_basic_config_write() and vfio_msi_config_write(), after a write of `size` bytes.
void PciDevice::FollowConfig(uint64_t offset, std::size_t size) {
  const auto written = [&](std::size_t at) { return at >= offset && at - offset < size; };
  if (written(kCommandHigh) || written(kCommandHigh - 1)) {
    interrupts_.SetIntxDisable((config_[kCommandHigh] & kIntxDisable) != 0);
  }
  // A write that ends right before the control register counts, too.
  const std::size_t control = config_.msi() + kMsiControl;
  if (config_.msi() == 0 || !(written(control) || written(control - 1))) return;
  auto& bits = config_[control];
  if (!interrupts_.Is(uapi::VFIO_PCI_MSI_IRQ_INDEX)) bits &= static_cast<uint8_t>(~kMsiEnable);
  bits &= static_cast<uint8_t>(~kMsiVectors);  // no model has more than one
  interrupts_.SetMsiEnable((bits & kMsiEnable) != 0);
}

// vfio_pci_ioeventfd()
int PciDevice::SetIoeventfd(const uapi::vfio_device_ioeventfd& request) {
  const unsigned width = request.flags;
  if (request.argsz < offsetof(uapi::vfio_device_ioeventfd, reserved)) return -EINVAL;
  if (width != 1 && width != 2 && width != 4 && width != 8) return -EINVAL;
  if (request.fd < -1) return -EINVAL;
  const uint64_t bar = request.offset >> kRegionShift;
  const uint64_t at = request.offset & kRegionOffsetMask;
  if (bar >= kBars || at + width > description_.bars.at(bar).size) return -EINVAL;
  const auto& msix = description_.msix;
  if (msix && msix->bar == bar && at + width > msix->offset && at < msix->offset + msix->size) return -EINVAL;
  const auto same = [&](const Ioeventfd& other) {
    return other.offset == request.offset && other.width == width && other.data == request.data;
  };
  const auto found = std::ranges::find_if(ioeventfds_, same);
  if (found != ioeventfds_.end()) {
    if (request.fd >= 0) return -EEXIST;
    ioeventfds_.erase(found);
    return 0;
  }
  if (request.fd < 0) return -ENODEV;
  if (ioeventfds_.size() >= kMostIoeventfds) return -ENOSPC;
  Ioeventfd added = {.offset = request.offset, .width = width, .data = request.data};
  const bool ports = description_.bars.at(bar).kind == BarDescription::Kind::kIoPort;
  const auto write = [this, bar, at, width, data = request.data, ports]() REQUIRES(lock_) {
    if (ports || MemoryEnabled()) Access1(static_cast<unsigned>(bar), at, width, Access::kWrite, data);
  };
  const int set = table_.OnSignal(request.fd, write, &added.action);
  if (set == 0) ioeventfds_.push_back(std::move(added));
  return set;
}

}  // namespace fake
