// dma-bufs of host memory, from the exporters that need no device: /dev/udmabuf and /dev/dma_heap.
#pragma once

#include <memory>
#include <vector>

#include "core/fd.h"

namespace core {

struct UdmabufItem {
  int memfd;  // sealed against shrinking, and not against writing
  uint64_t offset;
  uint64_t size;
};

// `driver` is /dev/udmabuf.
std::shared_ptr<Fd> CreateUdmabuf(const Fd& driver, const UdmabufItem& item);
// One dma-buf of all the items, in this order.
std::shared_ptr<Fd> CreateUdmabufList(const Fd& driver, const std::vector<UdmabufItem>& items);
// A dma-buf of new, zeroed memory of a heap. `access`: O_RDONLY, O_WRONLY or O_RDWR, of the new fd.
std::shared_ptr<Fd> AllocateFromHeap(const Fd& heap, uint64_t length, int access);

}  // namespace core
