// Kernel calls with any arguments, for the project's own tests. Only the addon of a checkout has them: they can access
// all memory.
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "binding/addon.h"
#include "binding/call.h"
#include "binding/handle.h"

namespace binding {
namespace {

// The arguments of a raw call: memory that the tests share with the kernel, always at the same address.
constexpr uintptr_t kRawMemory = 0x2000'0000'0000;
constexpr std::size_t kRawMemorySize = std::size_t{1} << 20;

// rawMemory(): ArrayBuffer, the memory at kRawMemory. The pages before and after it are not accessible.
Napi::Value RawMemory(const Napi::CallbackInfo& info) {
  void* wanted = reinterpret_cast<void*>(kRawMemory);
  const int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
  static void* const kMemory = mmap(wanted, kRawMemorySize, PROT_READ | PROT_WRITE, flags, -1, 0);
  if (kMemory != wanted) throw Napi::Error::New(info.Env(), "the address is not free");
  return Napi::ArrayBuffer::New(info.Env(), kMemory, kRawMemorySize);
}

using Arguments = std::array<uint64_t, 5>;

// What the mappings of this thread hold, by their address.
std::map<uint64_t, kernel::MappedPages>& Mappings() {
  thread_local std::map<uint64_t, kernel::MappedPages> mappings;
  return mappings;
}

int64_t Map(kernel::Kernel& kernel, const Arguments& a) {
  kernel::MappedPages pages;
  const int result =
      kernel.Mmap(a[0], static_cast<int>(a[1]), static_cast<int>(a[2]), static_cast<int>(a[3]), a[4], &pages);
  if (result < 0) return result;
  const auto address = reinterpret_cast<uintptr_t>(pages.address);
  Mappings()[address] = std::move(pages);
  return static_cast<int64_t>(address);
}

int64_t Unmap(kernel::Kernel& kernel, const Arguments& a) {
  const int result = kernel.Munmap(reinterpret_cast<void*>(a[0]), a[1]);
  Mappings().erase(a[0]);
  return result;
}

struct RawCallEntry {
  std::string_view name;
  int64_t (*call)(kernel::Kernel& kernel, const Arguments& arguments);
};

void* Pointer(uint64_t address) { return reinterpret_cast<void*>(address); }
int Int(uint64_t value) { return static_cast<int>(value); }

constexpr RawCallEntry kRawCalls[] = {
    {"open",
     [](kernel::Kernel& kernel, const Arguments& a) -> int64_t {
       return kernel.Open(static_cast<const char*>(Pointer(a[0])), Int(a[1]));
     }},
    {"close", [](kernel::Kernel& kernel, const Arguments& a) -> int64_t { return kernel.Close(Int(a[0])); }},
    {"dup", [](kernel::Kernel& kernel, const Arguments& a) -> int64_t { return kernel.Dup(Int(a[0])); }},
    {"ioctl",
     [](kernel::Kernel& kernel, const Arguments& a) -> int64_t {
       return kernel.Ioctl(Int(a[0]), a[1], Pointer(a[2]));
     }},
    {"pread",
     [](kernel::Kernel& kernel, const Arguments& a) -> int64_t {
       return kernel.Pread(Int(a[0]), Pointer(a[1]), a[2], a[3]);
     }},
    {"pwrite",
     [](kernel::Kernel& kernel, const Arguments& a) -> int64_t {
       return kernel.Pwrite(Int(a[0]), Pointer(a[1]), a[2], a[3]);
     }},
    {"read",
     [](kernel::Kernel& kernel, const Arguments& a) -> int64_t { return kernel.Read(Int(a[0]), Pointer(a[1]), a[2]); }},
    {"write",
     [](kernel::Kernel& kernel, const Arguments& a) -> int64_t {
       return kernel.Write(Int(a[0]), Pointer(a[1]), a[2]);
     }},
    {"lseek",
     [](kernel::Kernel& kernel, const Arguments& a) -> int64_t {
       return kernel.Lseek(Int(a[0]), static_cast<int64_t>(a[1]), Int(a[2]));
     }},
    {"fstat",
     [](kernel::Kernel& kernel, const Arguments& a) -> int64_t {
       return kernel.Fstat(Int(a[0]), static_cast<struct stat*>(Pointer(a[1])));
     }},
    {"fdinfo",
     [](kernel::Kernel& kernel, const Arguments& a) -> int64_t {
       return kernel.Fdinfo(Int(a[0]), static_cast<char*>(Pointer(a[1])), a[2]);
     }},
    {"path",
     [](kernel::Kernel& kernel, const Arguments& a) -> int64_t {
       return kernel.FdPath(Int(a[0]), static_cast<char*>(Pointer(a[1])), a[2]);
     }},
    {"poll", [](kernel::Kernel& kernel, const Arguments& a) -> int64_t { return kernel.Poll(Int(a[0]), Int(a[1])); }},
    {"eventfd",
     [](kernel::Kernel& kernel, const Arguments& a) -> int64_t {
       return kernel.Eventfd(static_cast<unsigned>(a[0]), Int(a[1]));
     }},
    {"memfd_create",
     [](kernel::Kernel& kernel, const Arguments& a) -> int64_t {
       return kernel.MemfdCreate(static_cast<const char*>(Pointer(a[0])), static_cast<unsigned>(a[1]));
     }},
    {"ftruncate",
     [](kernel::Kernel& kernel, const Arguments& a) -> int64_t { return kernel.Ftruncate(Int(a[0]), a[1]); }},
    {"seal",
     [](kernel::Kernel& kernel, const Arguments& a) -> int64_t { return kernel.AddSeals(Int(a[0]), Int(a[1])); }},
    {"mmap", Map},
    {"munmap", Unmap},
};

// rawCall(kernel, name, arguments): the result or a negated errno
Napi::Value RawCall(const Napi::CallbackInfo& info) {
  const auto kernel = Unwrap<kernel::Kernel>(info[0]);
  const std::string name = info[1].ToString();
  const auto given = ToArray<Napi::BigUint64Array>(info[2], napi_biguint64_array);
  const auto entry = std::ranges::find(kRawCalls, std::string_view(name), &RawCallEntry::name);
  Arguments arguments = {};
  if (entry == std::end(kRawCalls) || given.ElementLength() > arguments.size()) {
    throw Napi::TypeError::New(info.Env(), "no such call: " + name);
  }
  std::copy_n(given.Data(), given.ElementLength(), arguments.begin());
  return Napi::BigInt::New(info.Env(), entry->call(*kernel, arguments));
}

}  // namespace

void InitRawCalls(Napi::Env env, Napi::Object exports) {
  Export<RawMemory>(env, exports, "rawMemory");
  Export<RawCall>(env, exports, "rawCall");
}

}  // namespace binding
