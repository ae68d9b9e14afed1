// The common part of Linux's two sample displays: a PCI header, and video memory in BAR 0, which mmap finds at an
// offset of the file.
#pragma once

#include <array>
#include <memory>

#include "fake/mdev/mdev.h"
#include "fake/vfio/bar_memory.h"

namespace fake {

constexpr uint32_t kXrgb8888 = 0x34325258;  // DRM's 'XR24'

class FrameBuffer : public Mdev {
 public:
  FrameBuffer(const MdevDescription& description, FileTable& table, kernel::Mutex& lock, uint64_t memory_size,
              uint64_t memory_offset, uint32_t id);

  int Mmap(std::size_t length, int protection, int flags, uint64_t offset, kernel::MappedPages* out) override
      REQUIRES(lock_);

 protected:
  int GetIrqInfo(uapi::vfio_irq_info& info) override REQUIRES(lock_);
  int DriverIoctl(uapi::request_t request, void* argument) override REQUIRES(lock_);

  virtual int QueryPlane(uapi::vfio_device_gfx_plane_info& plane) REQUIRES(lock_) = 0;
  virtual int GetDmaBuf(uint32_t) REQUIRES(lock_) { return -ENOTTY; }

  // Accesses of config space. False: `at` is outside it.
  bool ReadConfig(uint64_t at, unsigned width, uint32_t* value) const REQUIRES(lock_);
  bool WriteConfig(uint64_t at, uint32_t value) REQUIRES(lock_);

  static constexpr std::size_t kConfigSize = 255;
  const uint64_t memory_size_;
  const uint64_t memory_offset_;  // in the file
  std::array<uint8_t, kConfigSize> config_ GUARDED_BY(lock_) = {};
  std::array<uint32_t, 6> bar_mask_ GUARDED_BY(lock_) = {};  // 0: no such BAR
  std::shared_ptr<BarMemory> memory_ GUARDED_BY(lock_);
};

}  // namespace fake
