// A PCI device bound to vfio-pci: config space, BARs, reset, dma-buf export. The rules are
// those of drivers/vfio/pci.
#pragma once

#include <cassert>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "fake/dma_buf/dma_buf.h"
#include "fake/iommu/bar_mappings.h"
#include "fake/models/model.h"
#include "fake/pci/config_space.h"
#include "fake/pci/description.h"
#include "fake/pci/interrupts.h"
#include "fake/vfio/bar_memory.h"
#include "fake/vfio/vfio_cdev.h"
#include "fake/vfio/vfio_group.h"

namespace fake {

// A DMA that the IOMMU refused.
struct DmaFault {
  std::string device;
  uint64_t iova;
  Access access;
  std::string reason;  // "unmapped", "forbidden", "revoked" or "unattached"
};

class PciDevice : public CdevDevice,
                  public BarBytes,
                  public DmaPort,
                  public InterruptPort,
                  public std::enable_shared_from_this<PciDevice> {
 public:
  using ReportFault = std::function<void(DmaFault)>;
  PciDevice(DeviceDescription description, FileTable& table, kernel::Mutex& lock, ReportFault report);

  int Bind(const uapi::vfio_device_bind_iommufd& command, uint32_t* device_id) override REQUIRES(lock_);
  void Unbind() override REQUIRES(lock_);
  int Ioctl(uapi::request_t request, void* argument) override REQUIRES(lock_);
  int64_t ReadRegion(uint64_t offset, void* buffer, std::size_t size) override REQUIRES(lock_);
  int64_t WriteRegion(uint64_t offset, const void* buffer, std::size_t size) override REQUIRES(lock_);
  int Mmap(std::size_t length, int protection, int flags, uint64_t offset, kernel::MappedPages* out) override
      REQUIRES(lock_);
  int Match(const std::string& name) override REQUIRES(lock_);
  int OpenInGroup(const std::shared_ptr<VfioContainer>& container, const std::shared_ptr<Iommufd>& iommufd) override
      REQUIRES(lock_);
  void CloseInGroup() override REQUIRES(lock_);

  // The other functions on its bus, itself among them, and its physical function, if it is a virtual one.
  void Connect(std::vector<std::weak_ptr<PciDevice>> bus, const std::shared_ptr<PciDevice>& physical) REQUIRES(lock_) {
    bus_ = std::move(bus);
    physical_ = physical;
  }

  void ReadBar(unsigned bar, uint64_t offset, void* buffer, std::size_t size) override REQUIRES(lock_);
  void WriteBar(unsigned bar, uint64_t offset, const void* buffer, std::size_t size) override REQUIRES(lock_);
  bool Dma(Access access, uint64_t iova, void* buffer, std::size_t size) override REQUIRES(lock_);
  uint8_t* Memory(unsigned bar) override REQUIRES(lock_) { return memory_.at(bar)->bytes(); }

  void SetIntx(bool asserted) override REQUIRES(lock_) { interrupts_.SetPin(asserted); }
  bool MsiEnabled() override REQUIRES(lock_) { return interrupts_.msi_sends(); }
  bool MsixEnabled() override REQUIRES(lock_) { return interrupts_.Is(uapi::VFIO_PCI_MSIX_IRQ_INDEX); }
  void SendMsi(unsigned vector) override REQUIRES(lock_);

  const DeviceDescription& description() const { return description_; }

 private:
  struct BarPart;
  class RegisterTrap;
  using VfTokenBytes = std::array<uint8_t, 16>;
  class MappedBar;

  // Checks the token that a bind passes, or its absence: 0, or a negated errno.
  int CheckToken(const uapi::vfio_device_bind_iommufd& command) REQUIRES(lock_);
  int CheckToken(const std::optional<VfTokenBytes>& token) REQUIRES(lock_);
  // Of a virtual function: it was opened (+1) or closed (-1).
  void CountVfUser(int change) REQUIRES(lock_);
  int Attach(uapi::vfio_device_attach_iommufd_pt& command) REQUIRES(lock_);
  int Detach(const uapi::vfio_device_detach_iommufd_pt& command) REQUIRES(lock_);
  int GetInfo(uapi::vfio_device_info& info) const REQUIRES(lock_);
  int GetRegionInfo(uapi::vfio_region_info& info) const REQUIRES(lock_);
  int GetIrqInfo(uapi::vfio_irq_info& info) const;
  int Feature(uapi::vfio_device_feature& feature) REQUIRES(lock_);
  int ExportDmaBuf(const uapi::vfio_device_feature_dma_buf& request) REQUIRES(lock_);
  int Reset() REQUIRES(lock_);
  int GetHotResetInfo(uapi::vfio_pci_hot_reset_info& info) const REQUIRES(lock_);
  int HotReset(const uapi::vfio_pci_hot_reset& request) REQUIRES(lock_);
  // Tells the thread-safety analysis that all devices of a machine have the same lock.
  void IsLockedWith([[maybe_unused]] const PciDevice& other) const REQUIRES(other.lock_) ASSERT_HELD(lock_) {
    assert(&lock_ == &other.lock_);
  }
  // Whether a reset of the bus resets the other, and is in the same VFIO device set.
  bool SharesReset(const PciDevice& other) const;
  // The device's id for the owner of `iommufd`: its id there, VFIO_PCI_DEVID_OWNED or _NOT_OWNED.
  int32_t DeviceIdFor(const Iommufd* iommufd) const REQUIRES(lock_);
  bool GroupIsOf(const Iommufd* iommufd) const REQUIRES(lock_);
  // A hot reset with the groups of devices that were opened through them.
  int FindGroups(const uapi::vfio_pci_hot_reset& request, std::vector<const VfioGroup*>* groups) const REQUIRES(lock_);
  int VfToken(const uapi::vfio_device_feature& feature) REQUIRES(lock_);
  int EnterLowPower(std::shared_ptr<Eventfd> wake_up) REQUIRES(lock_);
  int EnterLowPowerWithWakeUp(const uapi::vfio_device_feature& feature) REQUIRES(lock_);
  // Every access through the fd wakes the device; with a wake-up eventfd, that ends low power.
  void WakeUp() REQUIRES(lock_);
  bool CanReset() const REQUIRES(lock_);
  int SetIoeventfd(const uapi::vfio_device_ioeventfd& request) REQUIRES(lock_);
  int ExitLowPower() REQUIRES(lock_);

  bool IsOpen() const REQUIRES(lock_) { return iommufd_ || group_opens_ > 0; }
  // The device is opened.
  void Enable() REQUIRES(lock_);
  // The device is closed.
  void Disable() REQUIRES(lock_);
  // The address space of its DMA; nullptr: none.
  const IoAddressSpace* AddressSpace() const REQUIRES(lock_);
  bool MemoryEnabled() const REQUIRES(lock_) { return config_.MemoryEnabled(); }
  // Loads and stores through a mapping.
  bool Answers() const REQUIRES(lock_) { return MemoryEnabled() && !low_power_; }
  // False: a dma-buf has a pending fence, which the kernel would wait for.
  bool SetRevoked(bool revoked) REQUIRES(lock_);
  uint64_t RegionSize(uint32_t index) const REQUIRES(lock_);
  bool CanMmap(uint32_t index) const;
  int64_t WriteConfig(uint64_t offset, const void* buffer, std::size_t size) REQUIRES(lock_);
  // Config space with the interrupt status bits, and the effect of writes to the interrupt control bits.
  int64_t ReadConfig(uint64_t offset, void* buffer, std::size_t size) const REQUIRES(lock_);
  void FollowConfig(uint64_t offset, std::size_t size) REQUIRES(lock_);
  // Bytes of a BAR the way vfio-pci splits them: accesses as wide as alignment allows, the MSI-X table left out.
  int64_t MoveBar(unsigned bar, uint64_t offset, uint8_t* buffer, std::size_t size, Access access) REQUIRES(lock_);
  uint64_t Access1(unsigned bar, uint64_t offset, unsigned width, Access access, uint64_t value) REQUIRES(lock_);

  DeviceDescription description_;
  ReportFault report_;
  Interrupts interrupts_ GUARDED_BY(lock_);
  struct Ioeventfd {
    uint64_t offset;  // of the device's file
    unsigned width;
    uint64_t data;
    std::shared_ptr<EventfdAction> action;
  };
  std::vector<Ioeventfd> ioeventfds_ GUARDED_BY(lock_);
  std::unique_ptr<Model> model_ PT_GUARDED_BY(lock_);
  std::array<std::shared_ptr<BarMemory>, kBars> memory_;
  ConfigSpace config_ GUARDED_BY(lock_);
  bool low_power_ GUARDED_BY(lock_) = false;            // between LOW_POWER_ENTRY and LOW_POWER_EXIT
  std::shared_ptr<Eventfd> wake_up_ GUARDED_BY(lock_);  // of LOW_POWER_ENTRY_WITH_WAKEUP
  std::shared_ptr<Iommufd> iommufd_ GUARDED_BY(lock_);  // none: not bound
  uint32_t device_id_ GUARDED_BY(lock_) = 0;
  std::set<uint32_t> pasids_ GUARDED_BY(lock_);  // attached with the PASID flag
  bool attached_ GUARDED_BY(lock_) = false;      // attached without it
  std::vector<std::weak_ptr<PciDevice>> bus_ GUARDED_BY(lock_);
  std::weak_ptr<PciDevice> physical_ GUARDED_BY(lock_);
  VfTokenBytes vf_token_ GUARDED_BY(lock_) = {};                // of a physical function
  unsigned vf_users_ GUARDED_BY(lock_) = 0;                     // its virtual functions that are bound
  unsigned group_opens_ GUARDED_BY(lock_) = 0;                  // files that came from its group
  std::shared_ptr<VfioContainer> container_ GUARDED_BY(lock_);  // while it is open through a group that is in one
  std::vector<std::weak_ptr<VfioDmaBuf>> exports_ GUARDED_BY(lock_);
};

}  // namespace fake
