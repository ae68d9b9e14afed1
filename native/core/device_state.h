// The state of one device that all objects of this process share, in all threads: whether the device decodes memory,
// and how often it has revoked its exports.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/fd.h"
#include "kernel/mutex.h"

namespace core {

class DeviceFile;

class DeviceState {
 public:
  // The state of the device that `fd` is open on. Duplicates and other opens of the character device share it. All
  // files from groups have the same inode: they share it by `address`, and do not share it when that is ''.
  static std::shared_ptr<DeviceState> Of(const Fd& fd, const std::string& address);
  // The states of the devices of `kernel` whose known PCI address is in `addresses`.
  static std::vector<std::shared_ptr<DeviceState>> At(const kernel::Kernel* kernel,
                                                      const std::vector<std::string>& addresses);

  // A word for the holders of mappings of the device's dma-bufs. A mapping keeps the count from when it was made. It is
  // dead when the count differs, and while kRevoking is set.
  static constexpr unsigned kDisabled = 1;  // memory is not decoded: revoked dma-bufs cannot be mapped again yet
  static constexpr unsigned kRevoking = 2;
  static constexpr unsigned kDead = 4;  // of an export: its device was closed since
  static constexpr unsigned kCountShift = 3;
  uint64_t Word() const {
    return (uint64_t{revocations} << kCountShift) | (revoking > 0 ? kRevoking : 0) | (memory_enabled ? 0 : kDisabled);
  }

  std::atomic<bool> memory_enabled = false;  // when last read; while false, loads and stores are refused
  std::atomic<uint32_t> revocations = 0;
  std::atomic<uint32_t> revoking = 0;  // how many calls that may revoke are under way
  std::atomic<uint32_t> closings = 0;  // how often it was closed: earlier exports stay dead

  kernel::Mutex config_mutex;  // held over a call that changes the members below and the read of its effect
  bool low_power GUARDED_BY(config_mutex) = false;  // between LOW_POWER_ENTRY and LOW_POWER_EXIT
  struct Part {
    uint64_t offset;
    uint64_t size;
  };
  std::optional<Part> config GUARDED_BY(config_mutex);  // where config space is in the device's file, once bound
  // Where the capabilities are in config space; 0: there is none.
  std::optional<uint8_t> power_management GUARDED_BY(config_mutex);
  std::optional<uint8_t> express GUARDED_BY(config_mutex);
  std::optional<uint8_t> advanced_features GUARDED_BY(config_mutex);

  // Until nobody uses what the device has exported. The kernel waits for the same fences when it revokes, but in a
  // sleep that no signal ends: a process could not even be killed. Here it can be.
  void WaitForFences() const;
  mutable kernel::Mutex exports_mutex;
  std::vector<std::weak_ptr<const Fd>> exports GUARDED_BY(exports_mutex);

  kernel::Mutex files_mutex;
  std::set<const DeviceFile*> files GUARDED_BY(files_mutex);  // in use
  const kernel::Kernel* kernel = nullptr;
  std::string address GUARDED_BY(files_mutex);  // '' until an object knows it
};

// A device's fd in use, by an object and by the mappings of its regions.
class DeviceFile {
 public:
  // `address` is the PCI address, or '' if it is not known.
  DeviceFile(std::shared_ptr<Fd> fd, const std::string& address);
  DeviceFile(const DeviceFile&) = delete;
  DeviceFile& operator=(const DeviceFile&) = delete;
  ~DeviceFile() { Leave(); }

  // Ends the use of the fd. It closes with its last owner. If this process has no other file of the device, its exports
  // are dead from now on.
  void Leave();

  const Fd& fd() const { return *fd_; }
  const std::shared_ptr<Fd>& shared_fd() const { return fd_; }
  const std::shared_ptr<DeviceState>& state() const { return state_; }

 private:
  bool Reaches() const;

  std::shared_ptr<Fd> fd_;
  std::shared_ptr<DeviceState> state_;
};

// The scope of a call that may revoke: mappings are dead in every thread while it exists.
class Revoking {
 public:
  explicit Revoking(std::shared_ptr<DeviceState> state) : state_(std::move(state)) { ++state_->revoking; }
  Revoking(const Revoking&) = delete;
  Revoking& operator=(const Revoking&) = delete;
  ~Revoking() { End(false); }

  // Ends the scope. If the call `revoked`, earlier mappings stay dead.
  void End(bool revoked) {
    if (!state_) return;
    if (revoked) ++state_->revocations;
    --state_->revoking;
    state_.reset();
  }

 private:
  std::shared_ptr<DeviceState> state_;  // none: over
};

// A dma-buf that this process exported. Any fd of it, in any thread, leads to this object while the process has an
// object or a mapping of it.
class Export {
 public:
  Export(Identity identity, std::shared_ptr<DeviceState> device, uint32_t ranges)
      : identity_(identity), device_(std::move(device)), closings_(device_->closings), ranges_(ranges) {}
  Export(const Export&) = delete;
  Export& operator=(const Export&) = delete;
  ~Export();

  static std::shared_ptr<Export> Register(const std::shared_ptr<const Fd>& buffer, std::shared_ptr<DeviceState> device,
                                          uint32_t ranges);
  // nullptr: not exported by this process, or no longer registered.
  static std::shared_ptr<Export> Find(const Fd& buffer);

  uint64_t Word() const {
    return device_->Word() | (device_->closings == closings_ ? 0 : DeviceState::kDisabled | DeviceState::kDead);
  }
  uint32_t ranges() const { return ranges_; }

 private:
  Identity identity_;
  std::shared_ptr<DeviceState> device_;
  uint32_t closings_;
  uint32_t ranges_;
};

}  // namespace core
