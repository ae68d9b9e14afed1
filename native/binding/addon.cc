// The addon's entry point. The addon has no state of its own: JavaScript holds all objects through handles. Any number
// of environments (worker threads) can load it.
#include "binding/addon.h"

namespace binding {

static void Init(Napi::Env env, const Napi::Object& exports) {
  InitKernel(env, exports);
  InitFakeKernel(env, exports);
  InitFakeIommufd(env, exports);
  InitFd(env, exports);
  InitTrace(env, exports);
  InitPoll(env, exports);
  InitIommufd(env, exports);
  InitIommufdOptions(env, exports);
  InitHwpt(env, exports);
  InitEventQueue(env, exports);
  InitViommu(env, exports);
  InitVfioDevice(env, exports);
  InitVfioReset(env, exports);
  InitVfioFeature(env, exports);
  InitVfioGroup(env, exports);
  InitVfioContainer(env, exports);
  InitMigration(env, exports);
  InitGfx(env, exports);
  InitMappedRegion(env, exports);
  InitInterrupts(env, exports);
  InitDmaBuf(env, exports);
  InitHostDmaBuf(env, exports);
  InitSyncFile(env, exports);
  InitDmaMemory(env, exports);
  InitUnixSocket(env, exports);
  InitRun(env, exports);
}

}  // namespace binding

NAPI_MODULE_INIT() {  // NOLINT(misc-use-internal-linkage): Node looks the symbol up by name
  try {
    binding::Init(env, Napi::Object(env, exports));
  } catch (...) {
    binding::RaiseCaught(env);
  }
  return exports;
}
