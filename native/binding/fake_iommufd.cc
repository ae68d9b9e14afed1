// Raw ioctls on a fake kernel's files, such as IOMMU_TEST_CMD, for the project's own tests.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "binding/addon.h"
#include "binding/fake_kernel.h"
#include "fake/iommufd/iommufd_test_abi.h"

namespace binding {
namespace {

// fakeIommufdTest(kernel, fd, command, bitmap | undefined): number, the result of IOMMU_TEST_CMD. The ioctl writes its
// answer to `command`. The address of `bitmap` is passed to IOMMU_TEST_OP_DIRTY.
Napi::Value FakeIommufdTest(const Napi::CallbackInfo& info) {
  const auto fake = ToFake(info[0]);
  if (!info[2].IsTypedArray()) throw Napi::TypeError::New(info.Env(), "expected bytes");
  auto bytes = info[2].As<Napi::Uint8Array>();
  uapi::iommu_test_cmd command = {};
  if (bytes.ByteLength() != sizeof(command)) throw Napi::TypeError::New(info.Env(), "expected 72 bytes");
  std::memcpy(&command, bytes.Data(), sizeof(command));
  command.size = sizeof(command);
  if (command.op == uapi::IOMMU_TEST_OP_DIRTY) {
    const auto bitmap = info[3].As<Napi::Uint8Array>();
    const uint64_t bits = command.dirty.page_size == 0 ? 0 : command.dirty.length / command.dirty.page_size;
    if (bits > bitmap.ByteLength() * 8) throw Napi::TypeError::New(info.Env(), "expected a bit for each page");
    command.dirty.uptr = reinterpret_cast<uintptr_t>(bitmap.Data());
  }
  // Calls the FakeKernel directly, because FailingKernel counts only the library's calls.
  const int result = fake->Ioctl(static_cast<int>(ToU32(info[1])), uapi::IOMMU_TEST_CMD, &command);
  std::memcpy(bytes.Data(), &command, sizeof(command));
  return Napi::Number::New(info.Env(), result);
}

// ioctlAtPageEnd(kernel, fd, request, bytes): number, the result or a negated errno. Makes any request with an argument
// at the end of a page, before an inaccessible page. The ioctl's answer is copied to `bytes`.
int IoctlAtPageEnd(Napi::Env env, kernel::Kernel& kernel, int fd, uint32_t request, Napi::Uint8Array bytes) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  if (bytes.ByteLength() > page) throw Napi::RangeError::New(env, "expected a page of bytes at most");
  void* pages = mmap(nullptr, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (pages == MAP_FAILED) throw Napi::Error::New(env, "no memory");
  char* end = static_cast<char*>(pages) + page;
  mprotect(end, page, PROT_NONE);
  char* argument = end - bytes.ByteLength();
  std::copy_n(bytes.Data(), bytes.ByteLength(), reinterpret_cast<uint8_t*>(argument));
  const int result = kernel.Ioctl(fd, request, argument);
  std::copy_n(reinterpret_cast<const uint8_t*>(argument), bytes.ByteLength(), bytes.Data());
  munmap(pages, 2 * page);
  return result;
}

}  // namespace

void InitFakeIommufd(Napi::Env env, Napi::Object exports) {
  Export<FakeIommufdTest>(env, exports, "fakeIommufdTest");
  Export<IoctlAtPageEnd>(env, exports, "ioctlAtPageEnd");
}

}  // namespace binding
