// The features that VFIO's core answers for every driver: migration and DMA logging. The rules are those of
// drivers/vfio/vfio_main.c.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "fake/files/file.h"
#include "kernel/non_copyable.h"
#include "uapi/vfio.h"

namespace fake {

// The state of a device that can be migrated. Called with the fake kernel's lock held.
class Migration : private kernel::NonCopyable {
 public:
  explicit Migration(uint64_t flags) : flags_(flags) {}
  virtual ~Migration() = default;

  uint64_t flags() const { return flags_; }
  uint32_t state() const { return state_; }
  // Goes to `state` arc by arc. *file is set to the data file that the last arc opens, if it opens one.
  int SetState(uint32_t state, std::shared_ptr<File>* file);
  virtual uint64_t DataSize() const = 0;
  void EnablePrecopyInfoV2() { precopy_info_v2_ = true; }
  bool precopy_info_v2() const { return precopy_info_v2_; }
  // The device's last file was closed.
  void Close() { precopy_info_v2_ = false; }

 protected:
  // One arc, from state() to `next`.
  virtual int Step(uint32_t next, std::shared_ptr<File>* file) = 0;
  void Restart() { state_ = uapi::VFIO_DEVICE_STATE_RUNNING; }

 private:
  uint64_t flags_;
  uint32_t state_ = uapi::VFIO_DEVICE_STATE_RUNNING;
  bool precopy_info_v2_ = false;
};

// A device's log of the pages that it wrote to.
class DmaLog : private kernel::NonCopyable {
 public:
  struct Range {
    uint64_t start;
    uint64_t last;
  };
  using Mark = std::function<void(uint64_t iova, uint64_t length)>;
  virtual ~DmaLog() = default;

  virtual int Start(const std::vector<Range>& ranges, uint64_t* page_size) = 0;
  virtual int Stop() = 0;
  // Calls `mark` for each written page, and clears the log.
  virtual int ReadAndClear(uint64_t iova, uint64_t length, const Mark& mark) = 0;
};

// The checks of VFIO_DEVICE_FEATURE that do not depend on the feature: 0 or a negated errno.
int CheckHeader(const uapi::vfio_device_feature& feature);

// vfio_check_feature(): 0 or a negated errno is the result of the ioctl; nullopt: the operation must be done.
std::optional<int> CheckFeature(const uapi::vfio_device_feature& feature, uint32_t operations, std::size_t payload);

// nullopt: not a feature of VFIO's core. `migration` and `log` are nullptr if the device lacks them.
std::optional<int> CoreFeature(uapi::vfio_device_feature& feature, Migration* migration, DmaLog* log, FileTable& table);

}  // namespace fake
