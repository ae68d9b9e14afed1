// Linux's sample "mdpy" (samples/vfio-mdev/mdpy.c): a display of a fixed size, whose picture is BAR 0.
#pragma once

#include "fake/mdev/frame_buffer.h"

namespace fake {

class Mdpy : public FrameBuffer {
 public:
  Mdpy(const MdevDescription& description, FileTable& table, kernel::Mutex& lock, uint32_t width, uint32_t height);

 protected:
  int GetRegion(uint32_t index, Region* region, uapi::vfio_region_info_cap_type* type) override REQUIRES(lock_);
  int GetIrqInfo(uapi::vfio_irq_info& info) override REQUIRES(lock_);
  int Reset() override REQUIRES(lock_);
  bool Read(uint64_t at, unsigned width, uint32_t* value) override REQUIRES(lock_);
  bool Write(uint64_t at, unsigned width, uint32_t value) override REQUIRES(lock_);
  int QueryPlane(uapi::vfio_device_gfx_plane_info& plane) override REQUIRES(lock_);

 private:
  void Draw() const;

  const uint32_t width_;
  const uint32_t height_;
  const std::shared_ptr<BarMemory> picture_;
};

}  // namespace fake
