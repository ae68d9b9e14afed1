// The state of one device that all threads and objects of this process share: whether the device decodes memory, and
// how often it has revoked its exports.
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
#include "kernel/non_copyable.h"

namespace core {

class DeviceFile;

class DeviceState {
 public:
  // The state of `fd`'s device. All opens of a character device share it. Device files from groups all have the same
  // inode: those with the same `address` share a state. If `address` is '', the state is not shared.
  static std::shared_ptr<DeviceState> Of(const Fd& fd, const std::string& address);
  // The states of the devices of `kernel` whose known PCI address is in `addresses`.
  static std::vector<std::shared_ptr<DeviceState>> At(const kernel::Kernel* kernel,
                                                      const std::vector<std::string>& addresses);

  // The state word, which shows whether a mapping of one of the device's dma-bufs is alive. A mapping stores the count
  // of revocations at its creation. It is dead if the count differs, and while kRevoking is set.
  static constexpr unsigned kDisabled = 1;  // the device does not decode memory: its dma-bufs cannot be mapped
  static constexpr unsigned kRevoking = 2;
  static constexpr unsigned kDead = 4;  // only of an Export: its device was closed after the export
  static constexpr unsigned kCountShift = 3;
  uint64_t Word() const {
    return (uint64_t{revocations} << kCountShift) | (revoking > 0 ? kRevoking : 0) | (memory_enabled ? 0 : kDisabled);
  }

  std::atomic<bool> memory_enabled = false;  // as last read; while false, the library refuses loads and stores
  std::atomic<uint32_t> revocations = 0;
  std::atomic<uint32_t> revoking = 0;  // number of running calls that may revoke
  std::atomic<uint32_t> closings = 0;  // how often the device was closed, which kills all earlier exports

  kernel::Mutex config_mutex;  // held during a call that changes the members below, until its effect was read
  bool low_power GUARDED_BY(config_mutex) = false;  // between LOW_POWER_ENTRY and LOW_POWER_EXIT
  struct Part {
    uint64_t offset;
    uint64_t size;
  };
  std::optional<Part> config GUARDED_BY(config_mutex);  // config space in the device's file, after the bind
  // Offsets of capabilities in config space; 0: the device does not have the capability.
  std::optional<uint8_t> power_management GUARDED_BY(config_mutex);
  std::optional<uint8_t> express GUARDED_BY(config_mutex);
  std::optional<uint8_t> advanced_features GUARDED_BY(config_mutex);

  // Waits until all fences of the device's exports are signaled. The kernel waits for the same fences when it revokes,
  // but in an uninterruptible sleep, in which the process cannot be killed. During this wait, it can.
  void WaitForFences() const;
  mutable kernel::Mutex exports_mutex;
  std::vector<std::weak_ptr<const Fd>> exports GUARDED_BY(exports_mutex);
  std::size_t most_exports GUARDED_BY(exports_mutex) = 16;  // with more, expired entries are removed

  kernel::Mutex files_mutex;
  std::set<const DeviceFile*> files GUARDED_BY(files_mutex);  // open files of the device
  const kernel::Kernel* kernel = nullptr;
  std::string address GUARDED_BY(files_mutex);  // '' if it is not known
};

// An open file of a device. A VfioDevice and the mappings of its regions share it.
class DeviceFile : private kernel::NonCopyable {
 public:
  // `address` is the PCI address, or '' if it is not known.
  DeviceFile(std::shared_ptr<Fd> fd, const std::string& address);
  ~DeviceFile() { Leave(); }

  // Ends the use of the file. Its last owner closes it. If this process has no other bound file of the device, the
  // device's exports are dead from then on.
  void Leave();

  const Fd& fd() const { return *fd_; }
  const std::shared_ptr<Fd>& shared_fd() const { return fd_; }
  const std::shared_ptr<DeviceState>& state() const { return state_; }

 private:
  bool Reaches() const;

  std::shared_ptr<Fd> fd_;
  std::shared_ptr<DeviceState> state_;
};

// The scope of a call that may revoke. While the object exists, the device's mappings count as dead in every thread.
class Revoking : private kernel::NonCopyable {
 public:
  explicit Revoking(std::shared_ptr<DeviceState> state) : state_(std::move(state)) { ++state_->revoking; }
  ~Revoking() { End(false); }

  // Ends the scope. If the call `revoked`, all earlier mappings stay dead.
  void End(bool revoked) {
    if (!state_) return;
    if (revoked) ++state_->revocations;
    --state_->revoking;
    state_.reset();
  }

 private:
  std::shared_ptr<DeviceState> state_;  // nullptr: the scope has ended
};

// A dma-buf that this process exported. Find() returns the object for any fd of the dma-buf in any thread, as long as
// the process has an object or a mapping of it.
class Export : private kernel::NonCopyable {
 public:
  Export(Identity identity, std::shared_ptr<DeviceState> device, uint32_t ranges)
      : identity_(identity), device_(std::move(device)), closings_(device_->closings), ranges_(ranges) {}
  ~Export();

  static std::shared_ptr<Export> Register(const std::shared_ptr<const Fd>& buffer, std::shared_ptr<DeviceState> device,
                                          uint32_t ranges);
  // nullptr: this process did not export the dma-buf, or no object of it is left.
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
