// Functions of a dma-buf: its size, name and CPU mapping, DMA_BUF_IOCTL_SYNC, and its fences as sync files.
#include "binding/addon.h"
#include "binding/bus_errors.h"
#include "binding/call.h"
#include "binding/handle.h"

namespace binding {
namespace {

// dmaBufIs(fd): boolean
Napi::Value DmaBufIs(const Napi::CallbackInfo& info) {
  const auto fd = Unwrap<core::Fd>(info[0]);
  return Napi::Boolean::New(info.Env(), core::IsDmaBuf(*fd));
}

// dmaBufSize(fd): bigint
Napi::Value DmaBufSize(const Napi::CallbackInfo& info) {
  const auto fd = Unwrap<core::Fd>(info[0]);
  return FromU64(info.Env(), core::DmaBufSize(*fd));
}

// dmaBufSetName(fd, name)
void DmaBufSetName(const Napi::CallbackInfo& info) {
  const auto fd = Unwrap<core::Fd>(info[0]);
  const std::string name = info[1].As<Napi::String>().Utf8Value();
  core::DmaBufSetName(*fd, name);
}

// dmaBufFdinfo(fd): string
Napi::Value DmaBufFdinfo(const Napi::CallbackInfo& info) {
  const auto fd = Unwrap<core::Fd>(info[0]);
  return Napi::String::New(info.Env(), core::DmaBufFdinfo(*fd));
}

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

using Registration = std::shared_ptr<core::Export>;

napi_value ExportWord(napi_env env, napi_callback_info info) {
  void* data = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  napi_value result = nullptr;
  napi_create_double(env, static_cast<double>((*static_cast<Registration*>(data))->Word()), &result);
  return result;
}

// dmaBufExport(fd): { ranges, word() }, or undefined if this process did not export the dma-buf. `ranges` is the number
// of ranges; word() returns the buffer's state word (core/device_state.h).
Napi::Value DmaBufExport(const Napi::CallbackInfo& info) {
  const auto fd = Unwrap<core::Fd>(info[0]);
  const Registration registration = core::Export::Find(*fd);
  if (!registration) return info.Env().Undefined();
  Record result(info.Env());
  result.Define("ranges", registration->ranges());
  result.Define("word", HotFunction<ExportWord>(info.Env(), "word", registration));
  return result;
}

// dmaBufExportSyncFile(fd, flags): Fd
Napi::Value DmaBufExportSyncFile(const Napi::CallbackInfo& info) {
  const auto fd = Unwrap<core::Fd>(info[0]);
  const uint32_t flags = ToU32(info[1]);
  return Wrap(info.Env(), core::DmaBufExportSyncFile(*fd, flags));
}

// dmaBufImportSyncFile(fd, sync file, flags)
void DmaBufImportSyncFile(const Napi::CallbackInfo& info) {
  const auto fd = Unwrap<core::Fd>(info[0]);
  const auto sync_file = Unwrap<core::Fd>(info[1]);
  const uint32_t flags = ToU32(info[2]);
  core::DmaBufImportSyncFile(*fd, *sync_file, flags);
}

// dmaBufMap(fd, offset, length, writable): Mapping
Napi::Value DmaBufMap(const Napi::CallbackInfo& info) {
  const auto fd = Unwrap<core::Fd>(info[0]);
  const uint64_t offset = ToU64(info[1]);
  const uint64_t length = ToU64(info[2]);
  const bool writable = info[3].ToBoolean();
  KeepBusErrors(info.Env());
  return Wrap(info.Env(), core::MapDmaBuf(fd, offset, length, writable));
}

}  // namespace

void InitDmaBuf(Napi::Env env, Napi::Object exports) {
  Export<DmaBufIs>(env, exports, "dmaBufIs");
  Export<DmaBufSize>(env, exports, "dmaBufSize");
  Export<DmaBufSetName>(env, exports, "dmaBufSetName");
  Export<DmaBufFdinfo>(env, exports, "dmaBufFdinfo");
  Export<DmaBufExport>(env, exports, "dmaBufExport");
  Export<DmaBufSync>(env, exports, "dmaBufSync");
  Export<DmaBufExportSyncFile>(env, exports, "dmaBufExportSyncFile");
  Export<DmaBufImportSyncFile>(env, exports, "dmaBufImportSyncFile");
  Export<DmaBufMap>(env, exports, "dmaBufMap");
}

}  // namespace binding
