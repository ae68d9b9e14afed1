// The registers and dma-bufs of mbochs.
#include "fake/mdev/mbochs.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace fake {
namespace {

constexpr uint64_t kPageSize = 4096;
// Places in the file, a page each but for the memory.
constexpr uint64_t kRegisters = kPageSize;
constexpr uint64_t kEdid = 2 * kPageSize;
constexpr uint64_t kMemory = 3 * kPageSize;
constexpr uint64_t kEdidBlob = kPageSize / 2;  // in its region
constexpr uint32_t kEdidRegion = uapi::VFIO_PCI_NUM_REGIONS;
constexpr uint64_t kVbe = 0x500;  // in the registers

enum Vbe : std::size_t { kId, kWidth, kHeight, kBits, kEnable, kBank, kVirtualWidth, kVirtualHeight, kX, kY, kSize };
constexpr uint16_t kVersion5 = 0xb0c5;
constexpr uint16_t kEnabled = 1;
constexpr uint32_t kPrimaryPlane = 1;
constexpr uint32_t kLeast = 64;  // pixels a side

}  // namespace

// A picture keeps the memory that the device had when it was made. The device has new memory after its close.
class PictureBuffer : public DmaBuf {
 public:
  PictureBuffer(FileTable& table, std::shared_ptr<BarMemory> memory, uint64_t offset, uint64_t size)
      : DmaBuf(table, size, "mbochs"), memory_(std::move(memory)), offset_(offset) {}

  int Mmap(std::size_t length, int protection, int flags, uint64_t offset, kernel::MappedPages* out) override {
    const uint64_t pages = (length + kPageSize - 1) / kPageSize;
    if (length == 0 || offset % kPageSize != 0 || offset / kPageSize + pages > size() / kPageSize) return -EINVAL;
    if ((flags & MAP_SHARED) == 0) return -EINVAL;
    return memory_->Map(length, protection, flags, offset_ + offset, &out->address);
  }

 private:
  std::shared_ptr<BarMemory> memory_;
  uint64_t offset_;
};

Mbochs::Mbochs(const MdevDescription& description, FileTable& table, kernel::Mutex& lock, const MbochsType& type)
    : FrameBuffer(description, table, lock, type.memory_size, kMemory, 0x11111234),
      edid_{
          .edid_offset = kEdidBlob, .edid_max_size = kEdidBlobSize, .max_xres = type.most_x, .max_yres = type.most_y} {
  bar_mask_[2] = ~static_cast<uint32_t>(kPageSize) + 1;
  vbe_[kId] = kVersion5;
  vbe_[kSize] = static_cast<uint16_t>(memory_size_ >> 16);
}

int Mbochs::Reset() {
  vbe_ = {};
  vbe_[kId] = kVersion5;
  vbe_[kSize] = static_cast<uint16_t>(memory_size_ >> 16);
  return 0;
}

// New memory; existing pictures keep the old one.
void Mbochs::CloseDevice() {
  pictures_.clear();
  memory_ = std::make_shared<BarMemory>(memory_size_);
}

int Mbochs::GetRegion(uint32_t index, Region* region, uapi::vfio_region_info_cap_type* type) {
  switch (index) {
    case uapi::VFIO_PCI_CONFIG_REGION_INDEX:
      *region = {kConfigSize, 0, kReadWrite};
      break;
    case uapi::VFIO_PCI_BAR0_REGION_INDEX:
      *region = {memory_size_, kMemory, kReadWrite | uapi::VFIO_REGION_INFO_FLAG_MMAP};
      break;
    case 2:
      *region = {kPageSize, kRegisters, kReadWrite};
      break;
    case kEdidRegion:
      *region = {kPageSize, kEdid, kReadWrite};
      *type = {.header = {uapi::VFIO_REGION_INFO_CAP_TYPE, 1, 0},
               .type = uapi::VFIO_REGION_TYPE_GFX,
               .subtype = uapi::VFIO_REGION_SUBTYPE_GFX_EDID};
      break;
    default:
      return index > kEdidRegion ? -EINVAL : 0;
  }
  return 0;
}

// The sample counts the memory's pages from the registers' on: reads and writes land two pages behind what a mapping
// shows. For the last two pages the sample reads beyond its table of pages; here they do not exist.
uint8_t* Mbochs::MemoryAt(uint64_t at, unsigned width) const {
  if (at < kMemory || at + width > kMemory + memory_size_) return nullptr;
  const uint64_t offset = at - kRegisters;
  return offset + width > memory_size_ ? nullptr : memory_->bytes() + offset;
}

uint32_t Mbochs::ReadRegister(uint64_t offset, unsigned width) const {
  uint32_t value = 0;
  if (offset < edid_blob_.size()) {
    if (edid_.link_state != uapi::VFIO_DEVICE_GFX_LINK_STATE_UP || offset >= edid_.edid_size) return 0;
    std::memcpy(&value, &edid_blob_.at(offset), std::min<std::size_t>(width, edid_blob_.size() - offset));
    return value;
  }
  const uint64_t index = (offset - kVbe) / 2;
  return offset >= kVbe && width == 2 && index < vbe_.size() ? vbe_.at(index) : 0;
}

bool Mbochs::MoveEdid(uint64_t offset, unsigned width, uint32_t* value, bool write) {
  if (offset < kEdidBlob) {
    if (offset + width > sizeof(edid_) || width != 4) return true;
    auto* at = reinterpret_cast<uint8_t*>(&edid_) + offset;
    if (!write) {
      std::memcpy(value, at, width);
    } else if (offset == offsetof(uapi::vfio_region_gfx_edid, link_state) ||
               offset == offsetof(uapi::vfio_region_gfx_edid, edid_size)) {
      std::memcpy(at, value, width);
    }
    return true;
  }
  offset -= kEdidBlob;
  if (offset + width > edid_blob_.size()) return true;
  uint8_t* at = edid_blob_.data() + offset;
  write ? std::memcpy(at, value, width) : std::memcpy(value, at, width);
  return true;
}

bool Mbochs::Read(uint64_t at, unsigned width, uint32_t* value) {
  if (ReadConfig(at, width, value)) return true;
  if (at >= kRegisters && at + width <= kEdid) {
    *value = ReadRegister(at - kRegisters, width);
    return true;
  }
  if (at >= kEdid && at + width <= kMemory) return MoveEdid(at - kEdid, width, value, false);
  const uint8_t* bytes = MemoryAt(at, width);
  if (bytes) std::memcpy(value, bytes, width);
  return bytes != nullptr;
}

bool Mbochs::Write(uint64_t at, unsigned width, uint32_t value) {
  if (WriteConfig(at, value)) return true;
  if (at >= kRegisters && at + width <= kEdid) {
    const uint64_t offset = at - kRegisters;
    if (offset >= kVbe && width == 2 && (offset - kVbe) / 2 < vbe_.size()) {
      vbe_.at((offset - kVbe) / 2) = static_cast<uint16_t>(value);
    }
    return true;
  }
  if (at >= kEdid && at + width <= kMemory) return MoveEdid(at - kEdid, width, &value, true);
  uint8_t* bytes = MemoryAt(at, width);
  if (bytes) std::memcpy(bytes, &value, width);
  return bytes != nullptr;
}

bool Mbochs::CurrentMode(Mode* mode) const {
  if ((vbe_[kEnable] & kEnabled) == 0 || vbe_[kBits] != 32) return false;
  const uint32_t width = vbe_[kWidth];
  const uint32_t height = vbe_[kHeight];
  const uint32_t stride = std::max<uint32_t>(vbe_[kVirtualWidth], width) * 4;
  *mode = {.width = width,
           .height = height,
           .stride = stride,
           .offset = uint64_t{vbe_[kX]} * 4 + uint64_t{vbe_[kY]} * stride,
           .size = uint64_t{stride} * height};
  return width >= kLeast && height >= kLeast && mode->offset + mode->size <= memory_size_;
}

// The sample answers the first query of a picture with ENOMEM, although it creates the picture.
int Mbochs::QueryPlane(uapi::vfio_device_gfx_plane_info& plane) {
  constexpr uint32_t kProbe = uapi::VFIO_GFX_PLANE_TYPE_PROBE | uapi::VFIO_GFX_PLANE_TYPE_DMABUF;
  if ((plane.flags & uapi::VFIO_GFX_PLANE_TYPE_PROBE) != 0) return plane.flags == kProbe ? 0 : -EINVAL;
  if (plane.flags != uapi::VFIO_GFX_PLANE_TYPE_DMABUF) return -EINVAL;
  const uapi::vfio_device_gfx_plane_info nothing = {
      .argsz = plane.argsz, .flags = plane.flags, .drm_plane_type = plane.drm_plane_type, .reserved = plane.reserved};
  Mode mode = {};
  if (plane.drm_plane_type != kPrimaryPlane || !CurrentMode(&mode)) {
    plane = nothing;
    return 0;
  }
  const auto known = std::ranges::find_if(pictures_, [&](const auto& picture) { return picture.mode == mode; });
  if (known == pictures_.end()) {
    pictures_.push_back({next_id_++, mode, {}});
    return -ENOMEM;
  }
  plane = nothing;
  plane.drm_format = kXrgb8888;
  plane.width = mode.width;
  plane.height = mode.height;
  plane.stride = mode.stride;
  plane.size = static_cast<uint32_t>(mode.size);
  plane.dmabuf_id = known->id;
  return 0;
}

int Mbochs::GetDmaBuf(uint32_t id) {
  const auto picture = std::ranges::find_if(pictures_, [id](const auto& candidate) { return candidate.id == id; });
  if (picture == pictures_.end()) return -ENOENT;
  const auto& mode = picture->mode;
  auto buffer = picture->buffer.lock();
  if (!buffer) {
    if (mode.offset % kPageSize != 0) return -EINVAL;
    buffer = std::make_shared<PictureBuffer>(table_, memory_, mode.offset, mode.size);
    picture->buffer = buffer;
  }
  return table_.Install(std::move(buffer), "dmabuf");
}

}  // namespace fake
