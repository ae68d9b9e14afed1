// A PCI device's interrupts as vfio-pci forwards them to eventfds: INTx, MSI, MSI-X, and the error and request
// channels. The rules are those of drivers/vfio/pci/vfio_pci_intrs.c, for a device whose INTx can be masked in its
// command register. The caller holds the fake kernel's lock.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "fake/files/eventfd.h"
#include "fake/files/file.h"
#include "uapi/vfio.h"

namespace fake {

class Interrupts {
 public:
  // One index, as VFIO_DEVICE_GET_IRQ_INFO tells it.
  struct Index {
    uint32_t flags;
    uint32_t count;
  };
  using Indices = std::array<Index, uapi::VFIO_PCI_NUM_IRQS>;
  Interrupts(const Indices& indices, FileTable& table) : indices_(indices), table_(table) {}

  // VFIO_DEVICE_SET_IRQS
  int Set(const uapi::vfio_irq_set& request);
  // Disables everything: the device is closed.
  void Release();

  // The device's side: its INTx pin, and a message that arrives.
  void SetPin(bool asserted);
  bool pin() const { return pin_; }
  void Deliver(unsigned vector);
  // The effect of a device reset.
  void Reset();

  // The config space that users see: INTx disable in the command register, and the enable bit of the MSI capability,
  // which says what the hardware does while MSI is enabled here.
  void SetIntxDisable(bool disable);
  void SetMsiEnable(bool enable) { msi_sends_ = enable && Is(uapi::VFIO_PCI_MSI_IRQ_INDEX); }
  bool Is(uint32_t index) const { return enabled_ == index; }
  bool msi_sends() const { return msi_sends_; }

 private:
  // One vector that has a receiver; INTx may have none.
  using Trigger = std::shared_ptr<Eventfd>;

  int SetIntx(const uapi::vfio_irq_set& request);
  int MaskIntx(const uapi::vfio_irq_set& request);
  int UnmaskIntx(const uapi::vfio_irq_set& request);
  int SetMessages(const uapi::vfio_irq_set& request);
  int SetSingle(const uapi::vfio_irq_set& request, Trigger& trigger);

  void SendIntx() const;
  void CheckPin();
  void Mask() { masked_ = masked_ || Is(uapi::VFIO_PCI_INTX_IRQ_INDEX); }
  void Unmask();
  int SetVectors(uint32_t start, const std::vector<int32_t>& eventfds);
  int SetVector(uint32_t vector, int32_t eventfd);
  void Disable();

  Indices indices_;
  FileTable& table_;
  std::optional<uint32_t> enabled_;      // of INTx, MSI and MSI-X, at most one
  std::map<uint32_t, Trigger> vectors_;  // of the enabled index
  uint32_t allocated_ = 0;               // how many vectors there are, where that is fixed
  bool pin_ = false;
  bool masked_ = false;         // INTx
  bool intx_disabled_ = false;  // by the user's command register
  bool msi_sends_ = false;      // the MSI enable bit of the hardware
  std::shared_ptr<EventfdAction> unmask_;
  Trigger error_;
  Trigger request_;
};

}  // namespace fake
