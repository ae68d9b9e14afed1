// Linux's sample "mbochs" (samples/vfio-mdev/mbochs.c): a display with the registers of Bochs's, which exports its
// picture as a dma-buf.
#pragma once

#include <vector>

#include "fake/dma_buf/dma_buf.h"
#include "fake/mdev/frame_buffer.h"

namespace fake {

struct MbochsType {
  uint64_t memory_size;
  uint32_t most_x;
  uint32_t most_y;
};

class Mbochs : public FrameBuffer {
 public:
  Mbochs(const MdevDescription& description, FileTable& table, kernel::Mutex& lock, const MbochsType& type);

 protected:
  uint32_t regions() const override { return uapi::VFIO_PCI_NUM_REGIONS + 1; }
  int GetRegion(uint32_t index, Region* region, uapi::vfio_region_info_cap_type* type) override REQUIRES(lock_);
  int Reset() override REQUIRES(lock_);
  bool Read(uint64_t at, unsigned width, uint32_t* value) override REQUIRES(lock_);
  bool Write(uint64_t at, unsigned width, uint32_t value) override REQUIRES(lock_);
  int QueryPlane(uapi::vfio_device_gfx_plane_info& plane) override REQUIRES(lock_);
  int GetDmaBuf(uint32_t id) override REQUIRES(lock_);
  void CloseDevice() override REQUIRES(lock_);

 private:
  struct Mode {
    uint32_t width;
    uint32_t height;
    uint32_t stride;
    uint64_t offset;  // of the picture in the memory
    uint64_t size;
    bool operator==(const Mode&) const = default;
  };
  struct Picture {
    uint32_t id;
    Mode mode;
    std::weak_ptr<DmaBuf> buffer;
  };

  // False: the mode is not valid.
  bool CurrentMode(Mode* mode) const REQUIRES(lock_);
  uint8_t* MemoryAt(uint64_t at, unsigned width) const REQUIRES(lock_);
  uint32_t ReadRegister(uint64_t offset, unsigned width) const REQUIRES(lock_);
  bool MoveEdid(uint64_t offset, unsigned width, uint32_t* value, bool write) REQUIRES(lock_);

  std::array<uint16_t, 11> vbe_ GUARDED_BY(lock_) = {};
  uapi::vfio_region_gfx_edid edid_ GUARDED_BY(lock_);
  static constexpr uint32_t kEdidBlobSize = 0x400;
  std::array<uint8_t, kEdidBlobSize> edid_blob_ GUARDED_BY(lock_) = {};
  std::vector<Picture> pictures_ GUARDED_BY(lock_);
  uint32_t next_id_ GUARDED_BY(lock_) = 1;
};

}  // namespace fake
