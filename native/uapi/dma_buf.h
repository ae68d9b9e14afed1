// The ioctls of a dma-buf (linux/dma-buf.h), and the file system magic that identifies one (linux/magic.h).
#pragma once

#include "uapi/ioctl.h"

namespace uapi {

constexpr unsigned DMA_BUF_BASE = 'b';
constexpr long DMA_BUF_MAGIC = 0x444d4142;  // "DMAB": fstatfs(2)'s f_type
constexpr std::size_t DMA_BUF_NAME_LEN = 32;

struct dma_buf_sync {
  uint64_t flags;
};
static_assert(sizeof(dma_buf_sync) == 8);

constexpr uint64_t DMA_BUF_SYNC_READ = 1U << 0;
constexpr uint64_t DMA_BUF_SYNC_WRITE = 1U << 1;
constexpr uint64_t DMA_BUF_SYNC_RW = DMA_BUF_SYNC_READ | DMA_BUF_SYNC_WRITE;
constexpr uint64_t DMA_BUF_SYNC_START = 0;
constexpr uint64_t DMA_BUF_SYNC_END = 1U << 2;
constexpr uint64_t DMA_BUF_SYNC_VALID_FLAGS_MASK = DMA_BUF_SYNC_RW | DMA_BUF_SYNC_END;

struct dma_buf_export_sync_file {
  uint32_t flags;  // DMA_BUF_SYNC_READ, _WRITE: the access that the caller plans, which selects the fences
  int32_t fd;      // out
};
static_assert(sizeof(dma_buf_export_sync_file) == 8 && offsetof(dma_buf_export_sync_file, fd) == 4);

struct dma_buf_import_sync_file {
  uint32_t flags;  // DMA_BUF_SYNC_READ, _WRITE: the access that the fences are for
  int32_t fd;
};
static_assert(sizeof(dma_buf_import_sync_file) == 8 && offsetof(dma_buf_import_sync_file, fd) == 4);

constexpr request_t DMA_BUF_IOCTL_SYNC = IoctlWrite(DMA_BUF_BASE, 0, sizeof(dma_buf_sync));
constexpr request_t DMA_BUF_SET_NAME_A = IoctlWrite(DMA_BUF_BASE, 1, sizeof(uint32_t));  // the same on 32-bit systems
constexpr request_t DMA_BUF_SET_NAME_B = IoctlWrite(DMA_BUF_BASE, 1, sizeof(uint64_t));  // the argument is the string
constexpr request_t DMA_BUF_IOCTL_EXPORT_SYNC_FILE = IoctlReadWrite(DMA_BUF_BASE, 2, sizeof(dma_buf_export_sync_file));
constexpr request_t DMA_BUF_IOCTL_IMPORT_SYNC_FILE = IoctlWrite(DMA_BUF_BASE, 3, sizeof(dma_buf_import_sync_file));

}  // namespace uapi
