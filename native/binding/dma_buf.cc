// Functions of a dma-buf: its size, name and CPU mapping, DMA_BUF_IOCTL_SYNC, and its fences as sync files. Functions
// of /dev/udmabuf and /dev/dma_heap, which create dma-bufs of host memory.
#include "binding/addon.h"
#include "binding/bus_errors.h"
#include "core/host_dma_buf.h"

namespace binding {
namespace {

// sync(flags)
napi_value Sync(napi_env env, napi_callback_info info) {
  std::size_t count = 1;
  napi_value argument = nullptr;
  void* data = nullptr;
  napi_get_cb_info(env, info, &count, &argument, nullptr, &data);
  const auto& fd = **static_cast<Cell<core::Fd>*>(data);
  uint32_t flags = 0;
  if (napi_get_value_uint32(env, argument, &flags) != napi_ok) throw Napi::TypeError::New(env, "expected flags");
  if (!fd) ThrowCoded(env, "ERR_CLOSED", "the dma-buf is closed");
  core::DmaBufSync(*fd, flags);
  return nullptr;
}

// dmaBufSync(fd): (flags) => void, a function that syncs this dma-buf
Napi::Value DmaBufSync(const Napi::CallbackInfo& info) {
  return HotFunction<Sync>(info.Env(), "sync", CellOf<core::Fd>(info[0]));
}

// dmaBufExport(fd): { ranges, word() }, or undefined if this process did not export the dma-buf. `ranges` is the number
// of ranges; word() returns the buffer's state word (core/device_state.h).
Napi::Value DmaBufExport(Napi::Env env, const core::Fd& fd) {
  const auto registration = core::Export::Find(fd);
  if (!registration) return env.Undefined();
  return Record(env).Define("ranges", registration->ranges()).Define("word", WordFunction(env, registration));
}

// dmaBufMap(fd, offset, length, writable): Mapping
std::shared_ptr<core::Mapping> DmaBufMap(Napi::Env env, const std::shared_ptr<core::Fd>& fd, uint64_t offset,
                                         uint64_t length, bool writable) {
  KeepBusErrors(env);
  return core::MapDmaBuf(fd, offset, length, writable);
}

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

void InitDmaBuf(Napi::Env env, Napi::Object exports) {
  Export<core::IsDmaBuf>(env, exports, "dmaBufIs");
  Export<core::DmaBufSize>(env, exports, "dmaBufSize");
  Export<core::DmaBufSetName>(env, exports, "dmaBufSetName");
  Export<core::DmaBufFdinfo>(env, exports, "dmaBufFdinfo");
  Export<DmaBufExport>(env, exports, "dmaBufExport");
  Export<DmaBufSync>(env, exports, "dmaBufSync");
  Export<core::DmaBufExportSyncFile>(env, exports, "dmaBufExportSyncFile");
  Export<core::DmaBufImportSyncFile>(env, exports, "dmaBufImportSyncFile");
  Export<DmaBufMap>(env, exports, "dmaBufMap");
  Export<UdmabufCreate>(env, exports, "udmabufCreate");
  Export<UdmabufCreateList>(env, exports, "udmabufCreateList");
  ExportAsync<core::AllocateFromHeap>(env, exports, "heapAllocate");
}

}  // namespace binding
