#include "binding/addon.h"
#include "binding/call.h"
#include "binding/handle.h"

namespace binding {
namespace {

// memoryAllocate(kernel, size, hugePageLog2, async): { fd, mapping }
Napi::Value MemoryAllocate(const Napi::CallbackInfo& info) {
  return Run(
      info.Env(), info[3],
      [kernel = Unwrap<kernel::Kernel>(info[0]), size = ToU64(info[1]), huge_page_log2 = ToU32(info[2])] {
        return core::Memory::Allocate(kernel, size, huge_page_log2);
      },
      [](Napi::Env env, const core::Memory& memory) -> Napi::Value {
        auto result = Napi::Object::New(env);
        result.Set("fd", Wrap(env, memory.fd));
        result.Set("mapping", Wrap(env, memory.mapping));
        return result;
      });
}

// memoryBuffer(mapping): ArrayBuffer over the pages. The pages' addresses stay this mapping's until the buffer is
// collected, wherever it was transferred to; what they hold after mappingRetire is zeros.
Napi::Value MemoryBuffer(const Napi::CallbackInfo& info) {
  const auto mapping = Unwrap<core::Mapping>(info[0]);
  auto* share = new std::shared_ptr<core::Mapping>(mapping);
  return Napi::ArrayBuffer::New(
      info.Env(), mapping->address(), mapping->length(),
      [](Napi::Env, void*, std::shared_ptr<core::Mapping>* owner) { delete owner; }, share);
}

// detach(ArrayBuffer)
void Detach(const Napi::CallbackInfo& info) {
  if (info[0].IsArrayBuffer()) info[0].As<Napi::ArrayBuffer>().Detach();
}

}  // namespace

void InitDmaMemory(Napi::Env env, Napi::Object exports) {
  Export<MemoryAllocate>(env, exports, "memoryAllocate");
  Export<MemoryBuffer>(env, exports, "memoryBuffer");
  Export<Detach>(env, exports, "detach");
}

}  // namespace binding
