// IOMMU_TEST_CMD on a fake kernel's iommufd, for the project's own tests.
#include "binding/addon.h"
#include "binding/call.h"
#include "binding/fake_kernel.h"
#include "binding/handle.h"
#include "fake/iommufd/iommufd_test_abi.h"

namespace binding {
namespace {

// fakeIommufdTest(kernel, fd, command, bitmap | undefined): number. IOMMU_TEST_CMD, for the project's own tests; the
// answer is in `command`, and `bitmap` goes to where IOMMU_TEST_OP_DIRTY wants its address.
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
  // Past FailingKernel, which counts the library's calls only.
  const int result = fake->Ioctl(static_cast<int>(ToU32(info[1])), uapi::IOMMU_TEST_CMD, &command);
  std::memcpy(bytes.Data(), &command, sizeof(command));
  return Napi::Number::New(info.Env(), result);
}

}  // namespace

void InitFakeIommufd(Napi::Env env, Napi::Object exports) { Export<FakeIommufdTest>(env, exports, "fakeIommufdTest"); }

}  // namespace binding
