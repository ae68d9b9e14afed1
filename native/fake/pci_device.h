// A PCI device bound to vfio-pci, and its character device: config space, BARs, reset, dma-buf export. The rules are
// those of drivers/vfio/pci.
#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "fake/description.h"
#include "fake/dma_buf.h"
#include "fake/file.h"
#include "fake/iommufd.h"
#include "fake/model.h"

namespace fake {

// A DMA that the IOMMU refused.
struct DmaFault {
  std::string device;
  uint64_t iova;
  Access access;
  std::string reason;  // "unmapped", "forbidden", "revoked" or "unattached"
};

// The pages of a memory BAR, shared by every mmap of it and by DMA.
class BarMemory {
 public:
  explicit BarMemory(uint64_t size);
  BarMemory(const BarMemory&) = delete;
  BarMemory& operator=(const BarMemory&) = delete;
  ~BarMemory();

  int fd() const { return fd_; }
  uint8_t* bytes() const { return bytes_; }

 private:
  uint64_t size_;
  int fd_;
  uint8_t* bytes_;
};

class PciDevice : public BarBytes, public DmaPort, public std::enable_shared_from_this<PciDevice> {
 public:
  using ReportFault = std::function<void(DmaFault)>;
  PciDevice(DeviceDescription description, FileTable& table, std::mutex& lock, ReportFault report);

  // The character device's operations. BIND succeeds for one open file at a time.
  int Bind(const uapi::vfio_device_bind_iommufd& command, uint32_t* device_id);
  void Unbind();
  int Ioctl(uapi::request_t request, void* argument);
  int64_t ReadRegion(uint64_t offset, void* buffer, std::size_t size);
  int64_t WriteRegion(uint64_t offset, const void* buffer, std::size_t size);
  int Mmap(std::size_t length, int protection, int flags, uint64_t offset, kernel::MappedPages* out);

  void ReadBar(unsigned bar, uint64_t offset, void* buffer, std::size_t size) override;
  void WriteBar(unsigned bar, uint64_t offset, const void* buffer, std::size_t size) override;
  void Dma(Access access, uint64_t iova, void* buffer, std::size_t size) override;

  const DeviceDescription& description() const { return description_; }

 private:
  class RegisterTrap;

  int GetInfo(uapi::vfio_device_info& info) const;
  int GetRegionInfo(uapi::vfio_region_info& info) const;
  int GetIrqInfo(uapi::vfio_irq_info& info) const;
  int Feature(uapi::vfio_device_feature& feature);
  int ExportDmaBuf(const uapi::vfio_device_feature_dma_buf& request);
  int Reset();
  int GetHotResetInfo(uapi::vfio_pci_hot_reset_info& info) const;
  int HotReset(const uapi::vfio_pci_hot_reset& request);
  int EnterLowPower();
  int ExitLowPower();

  uint16_t Command() const;
  bool MemoryEnabled() const;                                      // the command register's bit, and not in D3hot
  bool Answers() const { return MemoryEnabled() && !low_power_; }  // to loads and stores through a mapping
  bool BusMaster() const;
  void SetRevoked(bool revoked);
  uint64_t RegionSize(uint32_t index) const;
  bool CanMmap(uint32_t index) const;
  int64_t ReadConfig(uint64_t offset, void* buffer, std::size_t size) const;
  int64_t WriteConfig(uint64_t offset, const void* buffer, std::size_t size);
  // Bytes of a BAR the way vfio-pci splits them: accesses as wide as alignment allows, the MSI-X table left out.
  int64_t MoveBar(unsigned bar, uint64_t offset, uint8_t* buffer, std::size_t size, Access access);
  uint64_t Access1(unsigned bar, uint64_t offset, unsigned width, Access access, uint64_t value);

  DeviceDescription description_;
  FileTable& table_;
  std::mutex& lock_;  // the fake kernel's
  ReportFault report_;
  std::unique_ptr<Model> model_;
  std::array<std::shared_ptr<BarMemory>, kBars> memory_;
  std::vector<uint8_t> config_;
  std::size_t power_control_ = 0;     // where in config space the power state is; 0: nowhere
  std::size_t express_ = 0;           // where the PCI Express capability is; 0: nowhere
  bool low_power_ = false;            // between LOW_POWER_ENTRY and LOW_POWER_EXIT
  std::shared_ptr<Iommufd> iommufd_;  // none: not bound
  uint32_t device_id_ = 0;
  std::vector<std::weak_ptr<VfioDmaBuf>> exports_;
};

// /dev/vfio/devices/vfioN: one open file.
class VfioCdev : public File {
 public:
  explicit VfioCdev(std::shared_ptr<PciDevice> device) : device_(std::move(device)) {}
  ~VfioCdev() override;

  int Ioctl(uapi::request_t request, void* argument) override;
  int64_t Pread(void* buffer, std::size_t size, uint64_t offset) override;
  int64_t Pwrite(const void* buffer, std::size_t size, uint64_t offset) override;
  int Mmap(std::size_t length, int protection, int flags, uint64_t offset, kernel::MappedPages* out) override;

 private:
  std::shared_ptr<PciDevice> device_;
  bool bound_ = false;
};

}  // namespace fake
