#include "binding/addon.h"
#include "binding/handle.h"
#include "kernel/linux_kernel.h"

namespace binding {
namespace {

// systemKernel(): Kernel
Napi::Value SystemKernel(const Napi::CallbackInfo& info) {
  return Wrap<kernel::Kernel>(info.Env(), std::make_shared<kernel::LinuxKernel>());
}

}  // namespace

void InitKernel(Napi::Env env, Napi::Object exports) { Export<SystemKernel>(env, exports, "systemKernel"); }

}  // namespace binding
