// Functions of any fd: open, duplicate, read, write, close, and information about its file.
#include <fcntl.h>

#include <cerrno>

#include "binding/addon.h"
#include "core/side_threads.h"

namespace binding {

// 'MAJOR:MINOR'
template <>
Napi::Value ToJs(Napi::Env env, const core::DeviceNumber& number) {
  return ToJs(env, std::to_string(number.major) + ":" + std::to_string(number.minor));
}

namespace {

using SharedKernel = std::shared_ptr<kernel::Kernel>;

// fdOpen(kernel, path, async): Fd
std::shared_ptr<core::Fd> FdOpen(const SharedKernel& kernel, const std::string& path) {
  return core::Fd::Open(kernel, path.c_str(), O_RDWR);
}

// fdRead(fd, size, async): Uint8Array of the bytes read
std::vector<uint8_t> FdRead(const core::Fd& fd, uint32_t size) {
  std::vector<uint8_t> bytes(size);
  bytes.resize(fd.Read(bytes.data(), bytes.size()));
  return bytes;
}

// fdWrite(fd, Uint8Array, async): number of bytes
double FdWrite(const core::Fd& fd, const std::vector<uint8_t>& bytes) {
  return static_cast<double>(fd.Write(bytes.data(), bytes.size()));
}

// fdInode(fd): bigint
uint64_t FdInode(const core::Fd& fd) { return fd.Identify().inode; }

// fdShare(fd): Fd, a second handle of the same fd. The fd closes after both handles are closed.
std::shared_ptr<core::Fd> FdShare(const std::shared_ptr<core::Fd>& fd) { return fd; }

// fdClose(fd, async): the fd closes when the last call that uses it ends. A second fdClose() does nothing.
Napi::Value FdClose(const Napi::CallbackInfo& info) {
  auto& fd = Unbox<core::Fd>(info[0]);
  const bool wait = fd && fd->foreign() && !info[1].ToBoolean();
  const Napi::Value result = Release(info.Env(), info[1], std::move(fd));
  if (wait) core::SideThreads::Get().WaitBriefly();
  return result;
}

// fdLock(kernel, number): tries to take the file's exclusive lock (flock(2)); whether it succeeded
bool FdLock(kernel::Kernel& kernel, int number) {
  const int result = kernel.Flock(number);
  if (result != -EWOULDBLOCK) core::Check(result, "flock");
  return result == 0;
}

}  // namespace

void InitFd(Napi::Env env, Napi::Object exports) {
  ExportAsync<FdOpen>(env, exports, "fdOpen");
  Export<core::Fd::Duplicate>(env, exports, "fdDuplicate");
  Export<core::Fd::Eventfd>(env, exports, "fdEventfd");
  ExportAsync<FdRead>(env, exports, "fdRead");
  ExportAsync<FdWrite>(env, exports, "fdWrite");
  Export<&core::Fd::number>(env, exports, "fdNumber");
  Export<FdInode>(env, exports, "fdInode");
  Export<&core::Fd::Device>(env, exports, "fdDevice");  // undefined: the file is no character device
  Export<&core::Fd::Path>(env, exports, "fdPath");
  Export<FdShare>(env, exports, "fdShare");
  Export<FdClose>(env, exports, "fdClose");
  Export<&core::Fd::SetForeign>(env, exports, "fdSetForeign");
  Export<FdLock>(env, exports, "fdLock");
}

}  // namespace binding
