// The config space, interrupts and planes that mdpy and mbochs share.
#include "fake/mdev/frame_buffer.h"

#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "fake/files/user_memory.h"

namespace fake {
namespace {

constexpr uint64_t kBar0 = 0x10;

}  // namespace

FrameBuffer::FrameBuffer(const MdevDescription& description, FileTable& table, kernel::Mutex& lock,
                         uint64_t memory_size, uint64_t memory_offset, uint32_t id)
    : Mdev(description, table, lock),
      memory_size_(memory_size),
      memory_offset_(memory_offset),
      memory_(std::make_shared<BarMemory>(memory_size)) {
  const std::array<std::pair<std::size_t, uint32_t>, 5> words = {
      {{0x00, id}, {0x04, 0x0003}, {0x08, 0x03800001}, {kBar0, 8}, {0x2c, 0x11001af4}}};
  for (const auto& [at, value] : words) std::memcpy(&config_.at(at), &value, sizeof(value));
  bar_mask_[0] = ~static_cast<uint32_t>(memory_size) + 1;
}

bool FrameBuffer::ReadConfig(uint64_t at, unsigned width, uint32_t* value) const {
  if (at >= kConfigSize) return false;
  std::memcpy(value, &config_.at(at), std::min<std::size_t>(width, kConfigSize - at));
  return true;
}

bool FrameBuffer::WriteConfig(uint64_t at, uint32_t value) {
  if (at >= kConfigSize) return false;
  if (at % 4 != 0 || at < kBar0 || at >= kBar0 + 4 * bar_mask_.size()) return true;
  const uint32_t mask = bar_mask_.at((at - kBar0) / 4);
  if (mask == 0) return true;
  value = (value == ~0U ? mask : value & ~0xfU) | (config_.at(at) & 0xfU);
  std::memcpy(&config_.at(at), &value, sizeof(value));
  return true;
}

int FrameBuffer::GetIrqInfo(uapi::vfio_irq_info& info) {
  if (info.index >= uapi::VFIO_PCI_NUM_IRQS) return -EINVAL;
  info.count = 0;  // info.flags is not written
  return 0;
}

int FrameBuffer::DriverIoctl(uapi::request_t request, void* argument) {
  switch (request) {
    case uapi::VFIO_DEVICE_QUERY_GFX_PLANE: {
      if (!IsThere<std::array<char, offsetof(uapi::vfio_device_gfx_plane_info, reserved)>>(argument)) return -EFAULT;
      auto& plane = *static_cast<uapi::vfio_device_gfx_plane_info*>(argument);
      if (plane.argsz < offsetof(uapi::vfio_device_gfx_plane_info, reserved)) return -EINVAL;
      return QueryPlane(plane);
    }
    case uapi::VFIO_DEVICE_GET_GFX_DMABUF:
      return GetDmaBuf(*static_cast<uint32_t*>(argument));
    default:
      return -ENOTTY;
  }
}

// Only a mapping that begins at the memory's first page.
int FrameBuffer::Mmap(std::size_t length, int protection, int flags, uint64_t offset, kernel::MappedPages* out) {
  if (offset != memory_offset_ || length == 0 || length > memory_size_ || (flags & MAP_SHARED) == 0) return -EINVAL;
  return memory_->Map(length, protection, flags, 0, &out->address);
}

}  // namespace fake
