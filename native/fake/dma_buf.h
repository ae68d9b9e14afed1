// dma-bufs: the operations that all have in common, the revocable ones that VFIO exports, and udmabufs.
#pragma once

#include <memory>
#include <vector>

#include "fake/file.h"
#include "fake/pages.h"
#include "uapi/vfio.h"

namespace fake {

class DmaBuf : public File {
 public:
  DmaBuf(uint64_t size, const char* exporter) : size_(size), exporter_(exporter) {}

  int Ioctl(uapi::request_t request, void* argument) override;
  int64_t Lseek(int64_t offset, int whence) override;
  int64_t FilesystemMagic() override;
  std::string Fdinfo() override;
  int Mmap(std::size_t, int, int, uint64_t, kernel::MappedPages*) override { return -EINVAL; }

  // For IOMMUFD: the pages behind the buffer, or why it cannot import this one.
  virtual int Import(std::shared_ptr<Pages>*) { return -EOPNOTSUPP; }
  uint64_t size() const { return size_; }

 private:
  uint64_t size_;
  const char* exporter_;
  std::string name_;
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
  VfioDmaBuf(std::shared_ptr<BarBytes> device, unsigned bar, std::vector<uapi::vfio_region_dma_range> ranges,
             bool revoked);

  int Import(std::shared_ptr<Pages>* pages) override;
  // Revoking kills what was imported before, for good; allowing again lets new imports in.
  void SetRevoked(bool revoked);

 private:
  class Imported;

  std::shared_ptr<BarBytes> device_;
  unsigned bar_;
  std::vector<uapi::vfio_region_dma_range> ranges_;
  bool revoked_;
  std::vector<std::weak_ptr<Imported>> imports_;
};

// /dev/udmabuf.
class UdmabufDriver : public File {
 public:
  explicit UdmabufDriver(FileTable& table) : table_(table) {}
  int Ioctl(uapi::request_t request, void* argument) override;

 private:
  FileTable& table_;
};

}  // namespace fake
