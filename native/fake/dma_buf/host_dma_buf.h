// dma-bufs of host memory, which the CPU can map: udmabufs, and those of the system dma-heap.
#pragma once

#include <memory>
#include <vector>

#include "fake/dma_buf/dma_buf.h"
#include "fake/files/device_numbers.h"
#include "fake/files/file.h"
#include "kernel/non_copyable.h"
#include "uapi/udmabuf.h"

namespace fake {

// Pages of memfds, one piece after the other. They are mapped in this process and need no fd.
class HostPages : private kernel::NonCopyable {
 public:
  ~HostPages();

  // 0, or a negated errno.
  int Add(int memfd, uint64_t offset, uint64_t size);
  // Maps them again, at `*address` as mmap(2)'s flags say; the caller unmaps that mapping.
  int Map(uint64_t offset, std::size_t length, int protection, int flags, void** address) const;
  uint64_t size() const { return size_; }

 private:
  struct Piece {
    char* address;
    uint64_t size;
  };
  std::vector<Piece> pieces_;
  uint64_t size_ = 0;
};

class HostDmaBuf : public DmaBuf {
 public:
  // `access`: O_RDONLY, O_WRONLY or O_RDWR
  HostDmaBuf(FileTable& table, std::unique_ptr<HostPages> pages, const char* exporter, int access)
      : DmaBuf(table, pages->size(), exporter), pages_(std::move(pages)), access_(access) {}

  int Mmap(std::size_t length, int protection, int flags, uint64_t offset, kernel::MappedPages* out) override;

 private:
  const std::unique_ptr<HostPages> pages_;
  const int access_;
};

class Udmabuf : public HostDmaBuf {
 public:
  Udmabuf(FileTable& table, std::unique_ptr<HostPages> pages);
  int Mmap(std::size_t length, int protection, int flags, uint64_t offset, kernel::MappedPages* out) override;

 private:
  int BeginCpuAccess() override;
  int EndCpuAccess() override;

  bool mapped_for_cpu_ = false;  // by the first begin, for good
};

// /dev/udmabuf.
class UdmabufDriver : public File {
 public:
  explicit UdmabufDriver(FileTable& table) : table_(table) {}
  int Ioctl(uapi::request_t request, void* argument) override;
  std::string Path() override { return "/dev/udmabuf"; }
  dev_t DeviceNumber() override { return UdmabufNumber(); }

 private:
  int Create(const uapi::udmabuf_create_item* items, uint32_t count);

  FileTable& table_;
};

// /dev/dma_heap/system.
class SystemHeap : public File {
 public:
  explicit SystemHeap(FileTable& table) : table_(table) {}
  int Ioctl(uapi::request_t request, void* argument) override;
  std::string Path() override { return "/dev/dma_heap/system"; }
  dev_t DeviceNumber() override { return SystemHeapNumber(); }

 private:
  FileTable& table_;
};

}  // namespace fake
