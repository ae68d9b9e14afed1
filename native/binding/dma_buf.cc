#include "binding/addon.h"
#include "binding/call.h"
#include "binding/handle.h"

namespace binding {
namespace {

// dmaBufIs(fd): boolean
Napi::Value DmaBufIs(const Napi::CallbackInfo& info) {
  const auto fd = Unwrap<core::Fd>(info[0]);
  return Napi::Boolean::New(info.Env(), Call(info.Env(), [&] { return core::IsDmaBuf(*fd); }));
}

// dmaBufSize(fd): bigint
Napi::Value DmaBufSize(const Napi::CallbackInfo& info) {
  const auto fd = Unwrap<core::Fd>(info[0]);
  return FromU64(info.Env(), Call(info.Env(), [&] { return core::DmaBufSize(*fd); }));
}

// dmaBufSetName(fd, name)
void DmaBufSetName(const Napi::CallbackInfo& info) {
  const auto fd = Unwrap<core::Fd>(info[0]);
  const std::string name = info[1].As<Napi::String>().Utf8Value();
  Call(info.Env(), [&] { core::DmaBufSetName(*fd, name); });
}

// dmaBufFdinfo(fd): string
Napi::Value DmaBufFdinfo(const Napi::CallbackInfo& info) {
  const auto fd = Unwrap<core::Fd>(info[0]);
  return Napi::String::New(info.Env(), Call(info.Env(), [&] { return core::DmaBufFdinfo(*fd); }));
}

// dmaBufSync(fd, flags)
void DmaBufSync(const Napi::CallbackInfo& info) {
  const auto fd = Unwrap<core::Fd>(info[0]);
  const uint32_t flags = ToU32(info[1]);
  Call(info.Env(), [&] { core::DmaBufSync(*fd, flags); });
}

// udmabufCreate(memfd, offset, size): Fd
Napi::Value UdmabufCreate(const Napi::CallbackInfo& info) {
  const auto memfd = Unwrap<core::Fd>(info[0]);
  const uint64_t offset = ToU64(info[1]);
  const uint64_t size = ToU64(info[2]);
  return Wrap(info.Env(), Call(info.Env(), [&] { return core::CreateUdmabuf(*memfd, offset, size); }));
}

}  // namespace

void InitDmaBuf(Napi::Env env, Napi::Object exports) {
  Export<DmaBufIs>(env, exports, "dmaBufIs");
  Export<DmaBufSize>(env, exports, "dmaBufSize");
  Export<DmaBufSetName>(env, exports, "dmaBufSetName");
  Export<DmaBufFdinfo>(env, exports, "dmaBufFdinfo");
  Export<DmaBufSync>(env, exports, "dmaBufSync");
  Export<UdmabufCreate>(env, exports, "udmabufCreate");
}

}  // namespace binding
