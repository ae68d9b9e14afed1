// The handle of the kernel that this process runs on.
#include "binding/addon.h"
#include "binding/handle.h"
#include "kernel/linux_kernel.h"

namespace binding {
namespace {

// systemKernel(): Kernel
Napi::Value SystemKernel(const Napi::CallbackInfo& info) {
  // One for all threads: what they know of a device is kept together with its kernel.
  static const auto kKernel = std::make_shared<kernel::LinuxKernel>();
  return Wrap<kernel::Kernel>(info.Env(), kKernel);
}

}  // namespace

void InitKernel(Napi::Env env, Napi::Object exports) { Export<SystemKernel>(env, exports, "systemKernel"); }

}  // namespace binding
