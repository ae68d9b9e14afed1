// Functions of host memory for DMA: allocation, seals, and an ArrayBuffer over its pages.
#include <cstring>

#include "binding/addon.h"

namespace binding {

template <>
Napi::Value ToJs(Napi::Env env, const core::Memory& memory) {
  return Record(env).Define("fd", memory.fd).Define("mapping", memory.mapping);
}

namespace {

using Share = std::shared_ptr<core::Mapping>;

// The share of a mapping that an ArrayBuffer owns. The finalizers of the buffer and of its sentinel share this object.
struct BufferUse {
  Share share;
  napi_ref buffer = nullptr;    // weak
  napi_ref sentinel = nullptr;  // strong
  bool only_here = false;       // set when the environment ends and the buffer was not transferred
  char sentinel_byte = 0;
};

// Finalizer of the sentinel, an ArrayBuffer that JavaScript never gets. The sentinel is created after the buffer, so
// that Node runs this finalizer before the buffer's when the environment ends. No JavaScript runs at that time. A
// buffer that still has its memory was never transferred: no other environment has a view of it.
void LookForOwner(Napi::Env env, void*, std::shared_ptr<BufferUse>* hint) {
  const std::unique_ptr<std::shared_ptr<BufferUse>> owned(hint);
  BufferUse& use = **hint;
  if (!use.share || CanRunJavaScript(env)) return;
  napi_value buffer = nullptr;
  void* bytes = nullptr;
  std::size_t length = 0;
  use.only_here = napi_get_reference_value(env, use.buffer, &buffer) == napi_ok && buffer &&
                  napi_get_arraybuffer_info(env, buffer, &bytes, &length) == napi_ok && bytes == use.share->address() &&
                  length > 0;
}

// Finalizer of the ArrayBuffer. When an environment ends, Node calls it also for a buffer that was transferred to
// another thread, which may still access the memory. In that case the pages are replaced by zero pages, and their
// addresses are never used again.
void LetGo(Napi::Env env, void*, std::shared_ptr<BufferUse>* hint) {
  const std::unique_ptr<std::shared_ptr<BufferUse>> owned(hint);
  BufferUse& use = **hint;
  if (!CanRunJavaScript(env) && !use.only_here) use.share->Abandon();
  use.share.reset();
  for (napi_ref reference : {use.buffer, use.sentinel}) {
    if (reference) napi_delete_reference(env, reference);
  }
}

Napi::ArrayBuffer MakeBuffer(Napi::Env env, const std::shared_ptr<BufferUse>& use, void* bytes, std::size_t length,
                             void (*finalize)(Napi::Env, void*, std::shared_ptr<BufferUse>*)) {
  auto hint = std::make_unique<std::shared_ptr<BufferUse>>(use);
  auto buffer = Napi::ArrayBuffer::New(env, bytes, length, finalize, hint.get());
  static_cast<void>(hint.release());
  return buffer;
}

// memoryBuffer(mapping): ArrayBuffer over the pages. The address range stays reserved until the buffer is collected, in
// whichever thread that is. After mappingRetire() it contains zeros.
Napi::Value MemoryBuffer(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto mapping = Unwrap<core::Mapping>(info[0]);
  // A store to read-only pages would end the process, and JavaScript has no read-only ArrayBuffer.
  if (!mapping->writable()) ThrowCoded(env, "ERR_READ_ONLY", "the mapping is read-only");
  const auto use = std::make_shared<BufferUse>(BufferUse{.share = mapping});
  auto buffer = MakeBuffer(env, use, mapping->address(), mapping->length(), LetGo);
  const auto sentinel = MakeBuffer(env, use, &use->sentinel_byte, sizeof(use->sentinel_byte), LookForOwner);
  // If one of these calls fails, LookForOwner() treats the buffer as transferred.
  napi_create_reference(env, buffer, 0, &use->buffer);
  napi_create_reference(env, sentinel, 1, &use->sentinel);
  // The ArrayBuffer object owns a second share. A native asynchronous call of Node keeps its view alive, but not the
  // memory of a buffer that is transferred during the call.
  auto share = std::make_unique<Share>(mapping);
  buffer.AddFinalizer([](Napi::Env, Share* owned) { delete owned; }, share.get());
  static_cast<void>(share.release());
  return buffer;
}

// The address of `length` bytes at `offset`, after a check that they are inside the mapping.
char* InMapping(Napi::Env env, const core::Mapping& mapping, uint64_t offset, std::size_t length) {
  if (offset > mapping.length() || length > mapping.length() - offset) {
    throw Napi::RangeError::New(env, "outside the mapping");
  }
  return static_cast<char*>(mapping.address()) + offset;
}

// memoryRead(mapping, offset, bytes): fills the array. The mapping must be ordinary memory, not registers.
void MemoryRead(Napi::Env env, const core::Mapping& mapping, uint64_t offset, Napi::Uint8Array bytes) {
  const char* from = InMapping(env, mapping, offset, bytes.ByteLength());
  if (bytes.ByteLength() > 0) std::memmove(bytes.Data(), from, bytes.ByteLength());
}

// memoryWrite(mapping, offset, bytes)
void MemoryWrite(Napi::Env env, const core::Mapping& mapping, uint64_t offset, Napi::Uint8Array bytes) {
  if (!mapping.writable()) ThrowCoded(env, "ERR_READ_ONLY", "the mapping is read-only");
  char* to = InMapping(env, mapping, offset, bytes.ByteLength());
  if (bytes.ByteLength() > 0) std::memmove(to, bytes.Data(), bytes.ByteLength());
}

}  // namespace

void InitDmaMemory(Napi::Env env, Napi::Object exports) {
  ExportAsync<core::Memory::Allocate>(env, exports, "memoryAllocate");
  Export<MemoryBuffer>(env, exports, "memoryBuffer");
  Export<MemoryRead>(env, exports, "memoryRead");
  Export<MemoryWrite>(env, exports, "memoryWrite");
  Export<core::GetSeals>(env, exports, "memorySeals");
  Export<core::AddSeals>(env, exports, "memorySeal");
}

}  // namespace binding
