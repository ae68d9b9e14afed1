// The handle of the running Linux kernel.
#include "binding/addon.h"
#include "binding/handle.h"
#include "kernel/linux_kernel.h"
#include "kernel/page_size.h"

namespace binding {
namespace {

// systemKernel(): Kernel
Napi::Value SystemKernel(const Napi::CallbackInfo& info) {
  // All threads share one object, because device states are registered by kernel (core/device_state.h). It is never
  // destroyed: threads may outlive static objects.
  static const auto* const kKernel = new std::shared_ptr<kernel::Kernel>(std::make_shared<kernel::LinuxKernel>());
  return Wrap<kernel::Kernel>(info.Env(), *kKernel);
}

}  // namespace

void InitKernel(Napi::Env env, Napi::Object exports) {
  Export<SystemKernel>(env, exports, "systemKernel");
  Define(exports, "pageSize", FromU64(env, kernel::PageSize()));
}

}  // namespace binding
