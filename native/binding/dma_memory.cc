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

using Share = std::shared_ptr<core::Mapping>;

// False while the environment is being torn down.
bool CanRunJavaScript(napi_env env) {
  napi_value global = nullptr;
  bool found = false;
  return napi_get_global(env, &global) == napi_ok && napi_has_named_property(env, global, "Object", &found) == napi_ok;
}

// The ArrayBuffer is gone. But at the end of its environment Node calls this also for memory that was transferred to
// another thread, which may look at it for ever: then it becomes zeros, and its addresses are never given to anything
// else.
void LetGo(Napi::Env env, void*, Share* share) {
  if (!CanRunJavaScript(env)) (*share)->Abandon();
  delete share;
}

// memoryBuffer(mapping): ArrayBuffer over the pages. The pages' addresses stay this mapping's until the buffer is
// collected, wherever it was transferred to; what they hold after mappingRetire is zeros.
Napi::Value MemoryBuffer(const Napi::CallbackInfo& info) {
  const auto mapping = Unwrap<core::Mapping>(info[0]);
  auto share = std::make_unique<Share>(mapping);
  auto buffer = Napi::ArrayBuffer::New(info.Env(), mapping->address(), mapping->length(), LetGo, share.get());
  share.release();
  // Another share, for the object: a thread of Node's own that works on the memory keeps a view alive, but not what was
  // below a buffer that is transferred meanwhile.
  share = std::make_unique<Share>(mapping);
  buffer.AddFinalizer([](Napi::Env, Share* owned) { delete owned; }, share.get());
  share.release();
  return buffer;
}

}  // namespace

void InitDmaMemory(Napi::Env env, Napi::Object exports) {
  Export<MemoryAllocate>(env, exports, "memoryAllocate");
  Export<MemoryBuffer>(env, exports, "memoryBuffer");
}

}  // namespace binding
