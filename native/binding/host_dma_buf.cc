// Functions of /dev/udmabuf and /dev/dma_heap, which create dma-bufs of host memory.
#include "core/host_dma_buf.h"

#include "binding/addon.h"
#include "binding/call.h"
#include "binding/handle.h"

namespace binding {
namespace {

// udmabufCreate(driver, memfd, offset, size): Fd
Napi::Value UdmabufCreate(const Napi::CallbackInfo& info) {
  const auto driver = Unwrap<core::Fd>(info[0]);
  const auto memfd = Unwrap<core::Fd>(info[1]);
  const core::UdmabufItem item = {memfd->number(), ToU64(info[2]), ToU64(info[3])};
  return Wrap(info.Env(), core::CreateUdmabuf(*driver, item));
}

// udmabufCreateList(driver, [fd number, offset, size, …]): Fd
Napi::Value UdmabufCreateList(const Napi::CallbackInfo& info) {
  constexpr std::size_t kWords = 3;
  const auto driver = Unwrap<core::Fd>(info[0]);
  const auto words = ToArray<Napi::BigUint64Array>(info[1], napi_biguint64_array);
  std::vector<core::UdmabufItem> items(words.ElementLength() / kWords);
  for (std::size_t i = 0; i < items.size(); ++i) {
    items[i] = {static_cast<int>(words[kWords * i]), words[kWords * i + 1], words[kWords * i + 2]};
  }
  return Wrap(info.Env(), core::CreateUdmabufList(*driver, items));
}

// heapAllocate(heap, length, access, async): Fd. `access`: O_RDONLY, O_WRONLY or O_RDWR
Napi::Value HeapAllocate(const Napi::CallbackInfo& info) {
  return Run(
      info.Env(), info[3],
      [heap = Unwrap<core::Fd>(info[0]), length = ToU64(info[1]), access = static_cast<int>(ToU32(info[2]))] {
        return core::AllocateFromHeap(*heap, length, access);
      },
      Wrap<core::Fd>);
}

}  // namespace

void InitHostDmaBuf(Napi::Env env, Napi::Object exports) {
  Export<UdmabufCreate>(env, exports, "udmabufCreate");
  Export<UdmabufCreateList>(env, exports, "udmabufCreateList");
  Export<HeapAllocate>(env, exports, "heapAllocate");
}

}  // namespace binding
