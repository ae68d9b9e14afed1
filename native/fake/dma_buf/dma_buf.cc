// The ioctls of every dma-buf, and the revocation of those that VFIO exports.
#include "fake/dma_buf/dma_buf.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "fake/dma_buf/sync_file.h"
#include "fake/files/user_memory.h"

namespace fake {
namespace {

uint64_t TotalLength(const std::vector<uapi::vfio_region_dma_range>& ranges) {
  return std::accumulate(ranges.begin(), ranges.end(), uint64_t{0},
                         [](uint64_t sum, const auto& range) { return sum + range.length; });
}

}  // namespace

DmaBuf::~DmaBuf() { table_.fence_hub().Remove(this); }

int DmaBuf::Ioctl(uapi::request_t request, void* argument) {
  switch (request) {
    case uapi::DMA_BUF_IOCTL_SYNC:
      return Sync(static_cast<uapi::dma_buf_sync*>(argument)->flags);
    case uapi::DMA_BUF_SET_NAME_A:
    case uapi::DMA_BUF_SET_NAME_B: {
      auto name = CopyStringFromUser(static_cast<const char*>(argument), uapi::DMA_BUF_NAME_LEN);
      if (!name) return -EFAULT;
      if (name->size() >= uapi::DMA_BUF_NAME_LEN) return -EINVAL;
      name_ = std::move(*name);
      return 0;
    }
    case uapi::DMA_BUF_IOCTL_EXPORT_SYNC_FILE:
      return ExportSyncFile(*static_cast<uapi::dma_buf_export_sync_file*>(argument));
    case uapi::DMA_BUF_IOCTL_IMPORT_SYNC_FILE:
      return ImportSyncFile(*static_cast<uapi::dma_buf_import_sync_file*>(argument));
    default:
      return -ENOTTY;
  }
}

int DmaBuf::Sync(uint64_t flags) {
  if ((flags & ~uapi::DMA_BUF_SYNC_VALID_FLAGS_MASK) != 0 || (flags & uapi::DMA_BUF_SYNC_RW) == 0) return -EINVAL;
  if ((flags & uapi::DMA_BUF_SYNC_END) != 0) return EndCpuAccess();
  if (const int result = BeginCpuAccess(); result < 0) return result;
  return reservation_.Pending((flags & uapi::DMA_BUF_SYNC_WRITE) != 0).empty() ? 0 : kSleeps;
}

int DmaBuf::ExportSyncFile(uapi::dma_buf_export_sync_file& command) {
  if ((command.flags & ~uapi::DMA_BUF_SYNC_RW) != 0 || command.flags == 0) return -EINVAL;
  Fences fences = reservation_.Pending((command.flags & uapi::DMA_BUF_SYNC_WRITE) != 0);
  if (fences.empty()) fences.push_back(MakeStub(table_.fence_hub().born()));
  const int fd = table_.Install(std::make_shared<SyncFile>(table_, std::move(fences)), "sync_file");
  if (fd < 0) return fd;
  command.fd = fd;
  return 0;
}

int DmaBuf::ImportSyncFile(const uapi::dma_buf_import_sync_file& command) {
  if ((command.flags & ~uapi::DMA_BUF_SYNC_RW) != 0 || command.flags == 0) return -EINVAL;
  const auto file = std::dynamic_pointer_cast<SyncFile>(table_.Find(command.fd));
  if (!file) return -EINVAL;
  const bool writes = (command.flags & uapi::DMA_BUF_SYNC_WRITE) != 0;
  for (const auto& fence : file->fences()) {
    reservation_.Add(fence, writes ? Reservation::Usage::kWrite : Reservation::Usage::kRead);
  }
  FencesChanged();
  return 0;
}

int DmaBuf::Poll(int events) {
  int ready = 0;
  if ((events & POLLIN) != 0 && reservation_.Pending(false).empty()) ready |= POLLIN;
  if ((events & POLLOUT) != 0 && reservation_.Pending(true).empty()) ready |= POLLOUT;
  return ready;
}

int DmaBuf::WatchFd(int* events) {
  table_.fence_hub().Add(this);
  // A buffer that is ready for writing is ready for reading.
  const bool reading = (*events & POLLIN) != 0;
  *events = POLLIN;
  return (reading ? readable_ : writable_).Watch(reservation_.Pending(!reading).empty());
}

void DmaBuf::FencesChanged() {
  readable_.Set(reservation_.Pending(false).empty());
  writable_.Set(reservation_.Pending(true).empty());
}

int64_t DmaBuf::Lseek(int64_t offset, int whence) {
  if ((whence != SEEK_END && whence != SEEK_SET) || offset != 0) return -EINVAL;
  return whence == SEEK_END ? static_cast<int64_t>(size_) : 0;
}

int64_t DmaBuf::FilesystemMagic() { return uapi::DMA_BUF_MAGIC; }

std::string DmaBuf::Fdinfo(int fds) {
  const int64_t references = fds + mappings_.use_count() - 1 + Importers();
  std::string text = "size:\t" + std::to_string(size_) + "\ncount:\t" + std::to_string(references) + "\nexp_name:\t" +
                     exporter_ + "\n";
  if (!name_.empty()) text += "name:\t" + name_ + "\n";
  return text;
}

// IOMMUFD's attachment to an imported buffer: it keeps the buffer alive without an fd, and is dead after the device
// revokes.
class VfioDmaBuf::Imported : public Pages {
 public:
  explicit Imported(std::shared_ptr<VfioDmaBuf> buffer) : buffer_(std::move(buffer)), counted_(buffer_->importers_) {}

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
  std::shared_ptr<int> counted_;
  bool dead_ = false;
};

VfioDmaBuf::VfioDmaBuf(FileTable& table, std::shared_ptr<BarBytes> device, unsigned bar,
                       std::vector<uapi::vfio_region_dma_range> ranges, bool revoked, int access)
    : DmaBuf(table, TotalLength(ranges), "vfio_pci_core"),
      device_(std::move(device)),
      bar_(bar),
      ranges_(std::move(ranges)),
      access_(access),
      revoked_(revoked) {}

int64_t VfioDmaBuf::Read(void*, std::size_t) { return access_ == O_WRONLY ? -EBADF : -EINVAL; }
int64_t VfioDmaBuf::Write(const void*, std::size_t) { return access_ == O_RDONLY ? -EBADF : -EINVAL; }

// There is none; the access mode is checked before.
int VfioDmaBuf::Mmap(std::size_t, int protection, int flags, uint64_t, kernel::MappedPages*) {
  const bool stores = (protection & PROT_WRITE) != 0 && (flags & MAP_SHARED) != 0;
  return access_ == O_WRONLY || (access_ == O_RDONLY && stores) ? -EACCES : -EINVAL;
}

int VfioDmaBuf::Import(std::shared_ptr<Pages>* pages) {
  if (revoked_) return -ENODEV;
  if (ranges_.size() != 1) return -EOPNOTSUPP;
  if (imports_.size() >= most_imports_) {
    std::erase_if(imports_, [](const auto& import) { return import.expired(); });
    most_imports_ = std::max<std::size_t>(16, 2 * imports_.size());
  }
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

int64_t VfioDmaBuf::Importers() const { return importers_.use_count() - 1; }

}  // namespace fake
