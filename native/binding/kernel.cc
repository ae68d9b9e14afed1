// The handle of the kernel that this process runs on.
#include "binding/addon.h"
#include "binding/handle.h"
#include "kernel/linux_kernel.h"
#include "kernel/page_size.h"

namespace binding {
namespace {

// systemKernel(): Kernel
Napi::Value SystemKernel(const Napi::CallbackInfo& info) {
  // One for all threads: what they know of a device is kept together with its kernel.
  // Never destroyed: threads may outlive static objects.
  static const auto* const kKernel = new std::shared_ptr<kernel::Kernel>(std::make_shared<kernel::LinuxKernel>());
  return Wrap<kernel::Kernel>(info.Env(), *kKernel);
}

}  // namespace

void InitKernel(Napi::Env env, Napi::Object exports) {
  Export<SystemKernel>(env, exports, "systemKernel");
  Define(exports, "pageSize", FromU64(env, kernel::PageSize()));
}

}  // namespace binding
