// A VFIO device's ioctls, one typed function each, over the device's fd.
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/device_state.h"
#include "core/fd.h"
#include "core/mapping.h"
#include "core/query_info.h"
#include "uapi/vfio.h"

namespace core {

class VfioDevice {
 public:
  // An fd from another process may be bound already. `address` is the PCI address, or '' if it is not known.
  VfioDevice(std::shared_ptr<Fd> fd, const std::string& address);

  // The fd closes after the last call and the last mapping end. DeviceFile says when exports are dead.
  void Close() { file_->Leave(); }

  // Binds the device to `iommufd`; the kernel refuses all other ioctls before. A virtual function needs the VF token of
  // its physical function when vfio-pci drives that. Returns the device's id there.
  using Token = std::array<uint8_t, 16>;
  uint32_t Bind(std::shared_ptr<Fd> iommufd, const std::optional<Token>& token = {});
  // `page_table` is an IOAS's or HWPT's id. Returns the id of the HWPT that the device uses now.
  uint32_t Attach(uint32_t page_table) const;
  void Detach() const;
  // The same for the DMA that carries a PASID.
  uint32_t AttachPasid(uint32_t page_table, uint32_t pasid) const;
  void DetachPasid(uint32_t pasid) const;

  InfoWithCapabilities<uapi::vfio_device_info> GetInfo() const;
  InfoWithCapabilities<uapi::vfio_region_info> GetRegionInfo(uint32_t index) const;
  uapi::vfio_irq_info GetIrqInfo(uint32_t index) const;
  // A reset revokes the exported dma-bufs when it begins. The caller's thread marks that before another thread makes
  // the call.
  std::shared_ptr<Revoking> BeginRevoking() const { return std::make_shared<Revoking>(file_->state()); }
  void Reset(Revoking& revoking);

  // The devices that share this one's slot or bus, which a hot reset resets together.
  struct HotResetInfo {
    uint32_t flags;
    std::vector<uapi::vfio_pci_dependent_device> devices;
  };
  HotResetInfo GetHotResetInfo() const;
  // `addresses`: of the devices that will be reset. `groups`: the files of their groups, for a device that was opened
  // through its own; none for one that was opened by its character device.
  void HotReset(const std::vector<std::string>& addresses, const std::vector<std::shared_ptr<Fd>>& groups = {});

  void EnterLowPower(Revoking& revoking);
  // `wake_up` is an eventfd: it is signalled when something other than ExitLowPower() wakes the device.
  void EnterLowPowerWithWakeUp(Revoking& revoking, const Fd& wake_up);
  void ExitLowPower();

  // VFIO_DEVICE_FEATURE with `flags` (the feature's number and what to do), and its payload, in and out, behind the
  // header. `name` is the feature's, for the error. Returns the ioctl's result.
  int Feature(uint32_t flags, const char* name, void* payload = nullptr, std::size_t size = 0) const;
  // The same with a struct as the payload. Returns the struct with the answer.
  template <typename Payload>
  Payload Feature(uint32_t flags, const char* name, Payload payload) const {
    Feature(flags, name, &payload, sizeof(payload));
    return payload;
  }
  // Whether the device knows `feature` for GET or SET (`operation`). An unknown feature is false; other errors are
  // thrown.
  bool Probe(uint32_t feature, uint32_t operation) const;
  // Of a physical function: the token that a bind of its virtual functions, or of itself while they are in use, must
  // pass.
  void SetVfToken(const Token& token) const;
  void SetBusMaster(bool on) const;
  uint64_t ZpciError() const;
  // The kernel's errors: EOPNOTSUPP, ENOTTY and others.
  std::shared_ptr<Fd> ExportDmaBuf(uint32_t region, const std::vector<uapi::vfio_region_dma_range>& ranges) const;

  // Bytes of a region, by file offset. The number of bytes moved, which may be short.
  std::size_t Read(uint64_t offset, void* buffer, std::size_t size) const;
  std::size_t Write(uint64_t offset, const void* buffer, std::size_t size);

  std::shared_ptr<Mapping> Map(uint64_t offset, std::size_t length, int protection) const;

  const Fd& fd() const { return *fd_; }
  const std::shared_ptr<DeviceState>& state() const { return file_->state(); }

 private:
  template <typename Call>
  void LeaveForLowPower(Revoking& revoking, const Call& call);
  // Runs a call that may revoke memory: no load or store starts during it.
  template <typename Call>
  void Disturb(const Call& call) {
    const kernel::Lock lock(state_->config_mutex);
    state_->memory_enabled = false;
    try {
      call();
    } catch (const Failure&) {
      LookAtMemory();
      throw;
    }
    LookAtMemory();
  }
  // Updates whether the device decodes memory.
  void LookAtMemory() const REQUIRES(state_->config_mutex);
  // Where config space is in the file; nullopt: not bound yet.
  std::optional<DeviceState::Part> ConfigSpace() const;
  std::optional<DeviceState::Part> FindConfig() const REQUIRES(state_->config_mutex);
  void FindCapabilities() const REQUIRES(state_->config_mutex);
  // Whether writing `bytes` to config space at `offset` makes vfio-pci revoke.
  bool WriteRevokes(uint64_t offset, const uint8_t* bytes, std::size_t size) const;
  std::size_t WriteConfig(const DeviceState::Part& config, uint64_t offset, const void* buffer, std::size_t size);
  template <typename T>
  std::optional<T> ReadConfig(uint64_t offset) const REQUIRES(state_->config_mutex);

  std::shared_ptr<Fd> iommufd_;  // outlives file_: the kernel unbinds when the device's fd is closed
  std::shared_ptr<DeviceFile> file_;
  const Fd* fd_;        // file_'s
  DeviceState* state_;  // file_'s
};

}  // namespace core

// Expands to a feature's flags and its name. `operation` is GET or SET.
#define VFIO_DMABUF_FEATURE(operation, name) \
  uapi::VFIO_DEVICE_FEATURE_##operation | uapi::VFIO_DEVICE_FEATURE_##name, "VFIO_DEVICE_FEATURE_" #name
