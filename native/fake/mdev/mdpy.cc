// The regions and picture of mdpy.
#include "fake/mdev/mdpy.h"

#include <bit>
#include <cstring>

namespace fake {
namespace {

constexpr uint64_t kMemoryOffset = 4096;
constexpr uint32_t kRegion = 16;  // the picture once more, beside BAR 0

}  // namespace

Mdpy::Mdpy(const MdevDescription& description, FileTable& table, kernel::Mutex& lock, uint32_t width, uint32_t height)
    : FrameBuffer(description, table, lock, std::bit_ceil(uint64_t{width} * height * 4), kMemoryOffset, 0x000f1b36),
      width_(width),
      height_(height),
      picture_(memory_) {
  config_[0x06] = 0x10;  // capabilities: one of the vendor's, which tells the mode
  config_[0x34] = 0x40;
  const uint32_t capability[] = {0x00100009, kXrgb8888, width_, height_};
  std::memcpy(&config_[0x40], capability, sizeof(capability));
  Draw();
}

// A gradient from black down to white.
void Mdpy::Draw() const {
  const std::size_t stride = std::size_t{width_} * 4;
  for (uint32_t y = 0; y < height_; ++y) {
    std::memset(picture_->bytes() + y * stride, static_cast<int>(y * 255 / height_), stride);
  }
}

int Mdpy::Reset() {
  Draw();
  return 0;
}

int Mdpy::GetRegion(uint32_t index, Region* region, uapi::vfio_region_info_cap_type*) {
  if (index >= uapi::VFIO_PCI_NUM_REGIONS && index != kRegion) return -EINVAL;
  if (index == uapi::VFIO_PCI_CONFIG_REGION_INDEX) *region = {kConfigSize, 0, kReadWrite};
  if (index == uapi::VFIO_PCI_BAR0_REGION_INDEX || index == kRegion) {
    *region = {memory_size_, kMemoryOffset, kReadWrite | uapi::VFIO_REGION_INFO_FLAG_MMAP};
  }
  return 0;
}

int Mdpy::GetIrqInfo(uapi::vfio_irq_info& info) { return asked_info_ ? FrameBuffer::GetIrqInfo(info) : -EINVAL; }

// Wherever in the picture: the sample reads and writes its first bytes.
bool Mdpy::Read(uint64_t at, unsigned width, uint32_t* value) {
  if (ReadConfig(at, width, value)) return true;
  if (at < kMemoryOffset || at + width > kMemoryOffset + memory_size_) return false;
  std::memcpy(value, picture_->bytes(), width);
  return true;
}

bool Mdpy::Write(uint64_t at, unsigned width, uint32_t value) {
  if (WriteConfig(at, value)) return true;
  if (at < kMemoryOffset || at + width > kMemoryOffset + memory_size_) return false;
  std::memcpy(picture_->bytes(), &value, width);
  return true;
}

int Mdpy::QueryPlane(uapi::vfio_device_gfx_plane_info& plane) {
  constexpr uint32_t kProbe = uapi::VFIO_GFX_PLANE_TYPE_PROBE | uapi::VFIO_GFX_PLANE_TYPE_REGION;
  if ((plane.flags & uapi::VFIO_GFX_PLANE_TYPE_PROBE) != 0) return plane.flags == kProbe ? 0 : -EINVAL;
  if (plane.flags != uapi::VFIO_GFX_PLANE_TYPE_REGION) return -EINVAL;
  plane = {.argsz = plane.argsz,
           .flags = plane.flags,
           .drm_plane_type = plane.drm_plane_type,
           .drm_format = kXrgb8888,
           .width = width_,
           .height = height_,
           .stride = width_ * 4,
           .size = static_cast<uint32_t>(memory_size_),
           .region_index = kRegion,
           .reserved = plane.reserved};
  return 0;
}

}  // namespace fake
