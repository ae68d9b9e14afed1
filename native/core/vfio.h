// A VFIO device's ioctls, one typed function each, over the device's fd.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "core/fd.h"
#include "core/mapping.h"
#include "uapi/vfio.h"

namespace core {

// A fixed struct and the capability chain behind it, as the kernel filled them. `bytes` holds both.
template <typename Info>
struct InfoWithCapabilities {
  std::vector<uint8_t> bytes;
  Info info;
};

// What all objects of this process on one device must agree on.
struct DeviceState {
  // Whether the device decodes memory, as of the last look. While it does not, an access through a mapping raises
  // SIGBUS.
  std::atomic<bool> memory_enabled = false;
  std::mutex config_mutex;  // a write to config space and the look at its effect are one step
};

class VfioDevice {
 public:
  // The fd may be bound already, if it was handed over.
  explicit VfioDevice(std::shared_ptr<Fd> fd);

  // Ties the device to `iommufd`; before that the kernel refuses everything else. Returns the device's id there.
  uint32_t Bind(std::shared_ptr<Fd> iommufd);
  // `page_table` is an IOAS's or HWPT's id. Returns the id of the HWPT that serves the device now.
  uint32_t Attach(uint32_t page_table) const;
  void Detach() const;

  InfoWithCapabilities<uapi::vfio_device_info> GetInfo() const;
  InfoWithCapabilities<uapi::vfio_region_info> GetRegionInfo(uint32_t index) const;
  uapi::vfio_irq_info GetIrqInfo(uint32_t index) const;
  void Reset();
  // Whether the device knows `feature` for GET or SET (`operation`). Unknown is an answer; other errors are thrown.
  bool Probe(uint32_t feature, uint32_t operation) const;
  // EOPNOTSUPP, ENOTTY and the rest as the kernel says them.
  std::shared_ptr<Fd> ExportDmaBuf(uint32_t region, const std::vector<uapi::vfio_region_dma_range>& ranges) const;

  // Bytes of a region, by file offset. The number of bytes moved, which may be short.
  std::size_t Read(uint64_t offset, void* buffer, std::size_t size) const;
  std::size_t Write(uint64_t offset, const void* buffer, std::size_t size);

  bool memory_enabled() const { return state_->memory_enabled; }
  std::shared_ptr<Mapping> Map(uint64_t offset, std::size_t length, int protection) const;

  const Fd& fd() const { return *fd_; }

 private:
  // Runs a call that may switch memory space off: no access through a mapping starts meanwhile, as it could fault.
  template <typename Call>
  auto WithMemoryDisabled(const Call& call);
  // Reads the command register and the power state, to learn whether the device decodes memory.
  void RefreshMemoryEnabled() const;
  template <typename T>
  std::optional<T> ReadConfig(uint64_t offset) const;
  std::optional<uint8_t> FindPowerManagement() const;

  std::shared_ptr<Fd> iommufd_;  // outlives fd_: the kernel unbinds when the device's fd is closed
  std::shared_ptr<Fd> fd_;
  std::shared_ptr<DeviceState> state_;  // shared with every mapping and every other object of this device
};

}  // namespace core
