// Functions of /dev/udmabuf and /dev/dma_heap, which create dma-bufs of host memory.
#include "core/host_dma_buf.h"

#include "binding/addon.h"

namespace binding {
namespace {

// udmabufCreate(driver, memfd, offset, size): Fd
std::shared_ptr<core::Fd> UdmabufCreate(const core::Fd& driver, const core::Fd& memfd, uint64_t offset, uint64_t size) {
  return core::CreateUdmabuf(driver, {.memfd = memfd.number(), .offset = offset, .size = size});
}

// udmabufCreateList(driver, [fd number, offset, size, …]): Fd
std::shared_ptr<core::Fd> UdmabufCreateList(const core::Fd& driver, const std::vector<uint64_t>& words) {
  constexpr std::size_t kWords = 3;
  std::vector<core::UdmabufItem> items(words.size() / kWords);
  for (std::size_t i = 0; i < items.size(); ++i) {
    items[i] = {static_cast<int>(words[kWords * i]), words[kWords * i + 1], words[kWords * i + 2]};
  }
  return core::CreateUdmabufList(driver, items);
}

}  // namespace

void InitHostDmaBuf(Napi::Env env, Napi::Object exports) {
  Export<UdmabufCreate>(env, exports, "udmabufCreate");
  Export<UdmabufCreateList>(env, exports, "udmabufCreateList");
  ExportAsync<core::AllocateFromHeap>(env, exports, "heapAllocate");
}

}  // namespace binding
