// The ioctls of /dev/udmabuf and /dev/dma_heap.
#include "core/host_dma_buf.h"

#include <fcntl.h>

#include <cstring>

#include "uapi/dma_heap.h"
#include "uapi/udmabuf.h"

namespace core {

std::shared_ptr<Fd> CreateUdmabuf(const Fd& driver, const UdmabufItem& item) {
  uapi::udmabuf_create command = {.memfd = static_cast<uint32_t>(item.memfd),
                                  .flags = uapi::UDMABUF_FLAGS_CLOEXEC,
                                  .offset = item.offset,
                                  .size = item.size};
  return std::make_shared<Fd>(driver.kernel(), driver.Ioctl(VFIO_DMABUF_REQUEST(UDMABUF_CREATE), &command));
}

std::shared_ptr<Fd> CreateUdmabufList(const Fd& driver, const std::vector<UdmabufItem>& items) {
  const uapi::udmabuf_create_list head = {.flags = uapi::UDMABUF_FLAGS_CLOEXEC,
                                          .count = static_cast<uint32_t>(items.size())};
  std::vector<uint64_t> command((sizeof(head) + items.size() * sizeof(uapi::udmabuf_create_item)) / sizeof(uint64_t));
  char* at = reinterpret_cast<char*>(command.data());
  std::memcpy(at, &head, sizeof(head));
  at += sizeof(head);
  for (const auto& [memfd, offset, size] : items) {
    const uapi::udmabuf_create_item item = {.memfd = static_cast<uint32_t>(memfd), .offset = offset, .size = size};
    std::memcpy(at, &item, sizeof(item));
    at += sizeof(item);
  }
  return std::make_shared<Fd>(driver.kernel(), driver.Ioctl(VFIO_DMABUF_REQUEST(UDMABUF_CREATE_LIST), command.data()));
}

std::shared_ptr<Fd> AllocateFromHeap(const Fd& heap, uint64_t length, int access) {
  uapi::dma_heap_allocation_data command = {.len = length, .fd_flags = static_cast<uint32_t>(access | O_CLOEXEC)};
  heap.Ioctl(VFIO_DMABUF_REQUEST(DMA_HEAP_IOCTL_ALLOC), &command);
  return std::make_shared<Fd>(heap.kernel(), static_cast<int>(command.fd));
}

}  // namespace core
