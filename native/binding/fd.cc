// Functions of any fd: open, duplicate, read, write, close, and information about its file.
#include <fcntl.h>

#include <cerrno>

#include "binding/addon.h"
#include "binding/call.h"
#include "binding/handle.h"
#include "core/side_threads.h"

namespace binding {
namespace {

// fdOpen(kernel, path, async): Fd
Napi::Value FdOpen(const Napi::CallbackInfo& info) {
  return Run(
      info.Env(), info[2],
      [kernel = Unwrap<kernel::Kernel>(info[0]), path = info[1].As<Napi::String>().Utf8Value()] {
        return core::Fd::Open(kernel, path.c_str(), O_RDWR);
      },
      Wrap<core::Fd>);
}

// fdDuplicate(kernel, number): Fd
Napi::Value FdDuplicate(const Napi::CallbackInfo& info) {
  const auto kernel = Unwrap<kernel::Kernel>(info[0]);
  const auto number = static_cast<int>(ToU32(info[1]));
  return Wrap(info.Env(), core::Fd::Duplicate(kernel, number));
}

// fdEventfd(kernel, count): Fd
Napi::Value FdEventfd(const Napi::CallbackInfo& info) {
  const auto kernel = Unwrap<kernel::Kernel>(info[0]);
  const auto count = ToU32(info[1]);
  return Wrap(info.Env(), core::Fd::Eventfd(kernel, count));
}

// fdRead(fd, size, async): Uint8Array of the bytes read
Napi::Value FdRead(const Napi::CallbackInfo& info) {
  return Run(
      info.Env(), info[2],
      [fd = Unwrap<core::Fd>(info[0]), size = ToU32(info[1])] {
        std::vector<uint8_t> bytes(size);
        bytes.resize(fd->Read(bytes.data(), bytes.size()));
        return bytes;
      },
      FromBytes);
}

// fdWrite(fd, Uint8Array, async): number of bytes
Napi::Value FdWrite(const Napi::CallbackInfo& info) {
  const auto array = ToArray<Napi::Uint8Array>(info[1], napi_uint8_array);
  return Run(
      info.Env(), info[2],
      [fd = Unwrap<core::Fd>(info[0]), bytes = std::vector<uint8_t>(array.Data(), array.Data() + array.ByteLength())] {
        return fd->Write(bytes.data(), bytes.size());
      },
      [](Napi::Env env, std::size_t moved) -> Napi::Value {
        return Napi::Number::New(env, static_cast<double>(moved));
      });
}

// fdNumber(fd): number
Napi::Value FdNumber(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), Unwrap<core::Fd>(info[0])->number());
}

// fdInode(fd): bigint
Napi::Value FdInode(const Napi::CallbackInfo& info) {
  const auto fd = Unwrap<core::Fd>(info[0]);
  return FromU64(info.Env(), fd->Identify().inode);
}

// fdDevice(fd): 'MAJOR:MINOR' of a character device; undefined for any other file
Napi::Value FdDevice(const Napi::CallbackInfo& info) {
  const auto fd = Unwrap<core::Fd>(info[0]);
  const auto number = fd->Device();
  if (!number) return info.Env().Undefined();
  return Napi::String::New(info.Env(), std::to_string(number->major) + ":" + std::to_string(number->minor));
}

// fdPath(fd): string
Napi::Value FdPath(const Napi::CallbackInfo& info) {
  const auto fd = Unwrap<core::Fd>(info[0]);
  return Napi::String::New(info.Env(), fd->Path());
}

// fdShare(fd): Fd, a second handle of the same fd. The fd closes after both handles are closed.
Napi::Value FdShare(const Napi::CallbackInfo& info) { return Wrap(info.Env(), Unwrap<core::Fd>(info[0])); }

// fdClose(fd, async): the fd closes when the last call that uses it ends. A second fdClose() does nothing.
Napi::Value FdClose(const Napi::CallbackInfo& info) {
  auto& fd = Unbox<core::Fd>(info[0]);
  const bool wait = fd && fd->foreign() && !info[1].ToBoolean();
  const Napi::Value result = Release(info.Env(), info[1], std::move(fd));
  if (wait) core::SideThreads::Get().WaitBriefly();
  return result;
}

// fdSetForeign(fd): another process sent the fd, so its close may block and runs on another thread
void FdSetForeign(const Napi::CallbackInfo& info) { Unwrap<core::Fd>(info[0])->SetForeign(); }

// fdLock(kernel, number): tries to take the file's exclusive lock (flock(2)); whether it succeeded
Napi::Value FdLock(const Napi::CallbackInfo& info) {
  const auto kernel = Unwrap<kernel::Kernel>(info[0]);
  const auto number = static_cast<int>(ToU32(info[1]));
  const int result = kernel->Flock(number);
  if (result != -EWOULDBLOCK) core::Check(result, "flock");
  return Napi::Boolean::New(info.Env(), result == 0);
}

}  // namespace

void InitFd(Napi::Env env, Napi::Object exports) {
  Export<FdOpen>(env, exports, "fdOpen");
  Export<FdDuplicate>(env, exports, "fdDuplicate");
  Export<FdEventfd>(env, exports, "fdEventfd");
  Export<FdRead>(env, exports, "fdRead");
  Export<FdWrite>(env, exports, "fdWrite");
  Export<FdNumber>(env, exports, "fdNumber");
  Export<FdInode>(env, exports, "fdInode");
  Export<FdDevice>(env, exports, "fdDevice");
  Export<FdPath>(env, exports, "fdPath");
  Export<FdShare>(env, exports, "fdShare");
  Export<FdClose>(env, exports, "fdClose");
  Export<FdSetForeign>(env, exports, "fdSetForeign");
  Export<FdLock>(env, exports, "fdLock");
}

}  // namespace binding
