#include "fake/dma_buf.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <numeric>

#include "uapi/dma_buf.h"
#include "uapi/udmabuf.h"

namespace fake {
namespace {

constexpr uint64_t kPageSize = 4096;

uint64_t TotalLength(const std::vector<uapi::vfio_region_dma_range>& ranges) {
  return std::accumulate(ranges.begin(), ranges.end(), uint64_t{0},
                         [](uint64_t sum, const auto& range) { return sum + range.length; });
}

}  // namespace

int DmaBuf::Ioctl(uapi::request_t request, void* argument) {
  if (request == uapi::DMA_BUF_IOCTL_SYNC) {
    const uint64_t flags = static_cast<uapi::dma_buf_sync*>(argument)->flags;
    const bool bad = (flags & ~uapi::DMA_BUF_SYNC_VALID_FLAGS_MASK) != 0 || (flags & uapi::DMA_BUF_SYNC_RW) == 0;
    return bad ? -EINVAL : 0;
  }
  if (request == uapi::DMA_BUF_SET_NAME_B) {
    const auto* name = static_cast<const char*>(argument);
    if (strnlen(name, uapi::DMA_BUF_NAME_LEN) >= uapi::DMA_BUF_NAME_LEN) return -EINVAL;
    name_ = name;
    return 0;
  }
  return -ENOTTY;
}

int64_t DmaBuf::Lseek(int64_t offset, int whence) {
  if ((whence != SEEK_END && whence != SEEK_SET) || offset != 0) return -EINVAL;
  return whence == SEEK_END ? static_cast<int64_t>(size_) : 0;
}

int64_t DmaBuf::FilesystemMagic() { return uapi::DMA_BUF_MAGIC; }

std::string DmaBuf::Fdinfo() {
  std::string text = "size:\t" + std::to_string(size_) + "\ncount:\t1\nexp_name:\t" + exporter_ + "\n";
  if (!name_.empty()) text += "name:\t" + name_ + "\n";
  return text;
}

// What IOMMUFD holds of an imported buffer: the buffer outlives its fd, and the import dies when the device revokes.
class VfioDmaBuf::Imported : public Pages {
 public:
  explicit Imported(std::shared_ptr<VfioDmaBuf> buffer) : buffer_(std::move(buffer)) {}

  int Pin(uint64_t, uint64_t, bool) const override { return 0; }
  bool Read(uint64_t offset, void* bytes, std::size_t size) const override {
    if (dead_) return false;
    buffer_->device_->ReadBar(buffer_->bar_, buffer_->ranges_[0].offset + offset, bytes, size);
    return true;
  }
  bool Write(uint64_t offset, const void* bytes, std::size_t size) const override {
    if (dead_) return false;
    buffer_->device_->WriteBar(buffer_->bar_, buffer_->ranges_[0].offset + offset, bytes, size);
    return true;
  }
  void Kill() { dead_ = true; }

 private:
  std::shared_ptr<VfioDmaBuf> buffer_;
  bool dead_ = false;
};

VfioDmaBuf::VfioDmaBuf(std::shared_ptr<BarBytes> device, unsigned bar, std::vector<uapi::vfio_region_dma_range> ranges,
                       bool revoked)
    : DmaBuf(TotalLength(ranges), "vfio_pci_core"),
      device_(std::move(device)),
      bar_(bar),
      ranges_(std::move(ranges)),
      revoked_(revoked) {}

int VfioDmaBuf::Import(std::shared_ptr<Pages>* pages) {
  if (revoked_) return -ENODEV;
  if (ranges_.size() != 1) return -EOPNOTSUPP;
  std::erase_if(imports_, [](const auto& import) { return import.expired(); });
  const auto import = std::make_shared<Imported>(shared_from_this());
  imports_.push_back(import);
  *pages = import;
  return 0;
}

void VfioDmaBuf::SetRevoked(bool revoked) {
  revoked_ = revoked;
  if (!revoked) return;
  for (const auto& weak : imports_) {
    if (const auto import = weak.lock()) import->Kill();
  }
  imports_.clear();
}

int UdmabufDriver::Ioctl(uapi::request_t request, void* argument) {
  if (request != uapi::UDMABUF_CREATE) return -ENOTTY;
  const auto& command = *static_cast<uapi::udmabuf_create*>(argument);
  if (command.size == 0 || (command.offset | command.size) % kPageSize != 0) return -EINVAL;
  const int seals = fcntl(static_cast<int>(command.memfd), F_GET_SEALS);
  if (seals < 0) return errno == EBADF ? -EBADF : -EBADFD;
  if ((seals & F_SEAL_SHRINK) == 0 || (seals & F_SEAL_WRITE) != 0) return -EINVAL;
  struct stat info = {};
  fstat(static_cast<int>(command.memfd), &info);
  const auto end = static_cast<uint64_t>(info.st_size);
  if (command.offset > end || command.size > end - command.offset) return -EINVAL;
  return table_.Install(std::make_shared<DmaBuf>(command.size, "udmabuf"), "udmabuf");
}

}  // namespace fake
