// The ioctl of /dev/dma_heap/NAME (linux/dma-heap.h), which allocates a dma-buf. NAME is the kind of memory.
#pragma once

#include "uapi/ioctl.h"

namespace uapi {

struct dma_heap_allocation_data {
  uint64_t len;       // rounded up to whole pages
  uint32_t fd;        // in: 0; out: the dma-buf
  uint32_t fd_flags;  // O_CLOEXEC, and O_RDONLY, O_WRONLY or O_RDWR
  uint64_t heap_flags;
};
static_assert(sizeof(dma_heap_allocation_data) == 24 && offsetof(dma_heap_allocation_data, fd_flags) == 12);

constexpr uint64_t DMA_HEAP_VALID_HEAP_FLAGS = 0;

constexpr request_t DMA_HEAP_IOCTL_ALLOC = IoctlReadWrite('H', 0, sizeof(dma_heap_allocation_data));

}  // namespace uapi
