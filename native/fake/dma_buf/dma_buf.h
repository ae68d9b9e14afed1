// dma-bufs: the operations that all have in common, and the revocable ones that VFIO exports.
#pragma once

#include <memory>
#include <vector>

#include "fake/dma_buf/fence.h"
#include "fake/files/file.h"
#include "fake/files/readiness.h"
#include "fake/iommu/pages.h"
#include "uapi/dma_buf.h"
#include "uapi/vfio.h"

namespace fake {

class DmaBuf : public File, private FenceWatcher {
 public:
  DmaBuf(FileTable& table, uint64_t size, const char* exporter) : table_(table), size_(size), exporter_(exporter) {}
  ~DmaBuf() override;

  int Ioctl(uapi::request_t request, void* argument) override;
  bool TakesArgument(uapi::request_t request) const override { return (request >> 8 & 0xff) == uapi::DMA_BUF_BASE; }
  int64_t Pread(void*, std::size_t, uint64_t) override { return -ESPIPE; }
  int64_t Pwrite(const void*, std::size_t, uint64_t) override { return -ESPIPE; }
  int64_t Lseek(int64_t offset, int whence) override;
  int Poll(int events) override;
  int WatchFd(int* events) override;
  int64_t FilesystemMagic() override;
  std::string Fdinfo(int fds) override;
  std::string Path() override { return "/dmabuf:" + name_; }
  int Mmap(std::size_t, int, int, uint64_t, kernel::MappedPages*) override { return -EINVAL; }

  // For IOMMUFD: the pages of the buffer, or the negated errno of the import.
  virtual int Import(std::shared_ptr<Pages>*) { return -EOPNOTSUPP; }
  uint64_t size() const { return size_; }
  // Whether the buffer has a pending fence.
  bool busy() const { return !reservation_.Pending(true).empty(); }

 protected:
  // Counts a CPU mapping while the result is kept.
  std::shared_ptr<void> NoteMapping() const { return mappings_; }

 private:
  // The exporter's part of the operations.
  virtual int BeginCpuAccess() { return 0; }
  virtual int EndCpuAccess() { return 0; }
  virtual int64_t Importers() const { return 0; }

  int Sync(uint64_t flags);
  int ExportSyncFile(uapi::dma_buf_export_sync_file& command);
  int ImportSyncFile(const uapi::dma_buf_import_sync_file& command);
  void FencesChanged() override;

  FileTable& table_;
  uint64_t size_;
  const char* exporter_;
  std::string name_;
  Reservation reservation_;
  Readiness readable_;  // nobody writes
  Readiness writable_;  // nobody uses it
  std::shared_ptr<int> mappings_ = std::make_shared<int>();
};

// Where a dma-buf's bytes are: a device's BAR.
class BarBytes {
 public:
  virtual ~BarBytes() = default;
  virtual void ReadBar(unsigned bar, uint64_t offset, void* buffer, std::size_t size) = 0;
  virtual void WriteBar(unsigned bar, uint64_t offset, const void* buffer, std::size_t size) = 0;
};

class VfioDmaBuf : public DmaBuf, public std::enable_shared_from_this<VfioDmaBuf> {
 public:
  VfioDmaBuf(FileTable& table, std::shared_ptr<BarBytes> device, unsigned bar,
             std::vector<uapi::vfio_region_dma_range> ranges, bool revoked, int access);

  int64_t Read(void*, std::size_t) override;
  int64_t Write(const void*, std::size_t) override;
  int Mmap(std::size_t length, int protection, int flags, uint64_t offset, kernel::MappedPages* out) override;
  int Import(std::shared_ptr<Pages>* pages) override;
  // Revoking ends all existing imports; allowing again permits new ones.
  void SetRevoked(bool revoked);

 private:
  class Imported;

  int64_t Importers() const override;

  std::shared_ptr<BarBytes> device_;
  unsigned bar_;
  std::vector<uapi::vfio_region_dma_range> ranges_;
  const int access_;  // O_RDONLY, O_WRONLY or O_RDWR: the flags of the export
  bool revoked_;
  std::vector<std::weak_ptr<Imported>> imports_;
  std::size_t most_imports_ = 16;                             // with more, expired entries are removed
  std::shared_ptr<int> importers_ = std::make_shared<int>();  // shared with every import, also ended ones
};

}  // namespace fake
