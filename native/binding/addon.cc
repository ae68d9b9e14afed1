// The addon's entry point. The addon has no state of its own: JavaScript holds all objects through handles. Any number
// of environments (worker threads) can load it.
#include "binding/addon.h"

namespace binding {

static void Init(Napi::Env env, const Napi::Object& exports) {
  for (auto* const init : {InitKernel,    InitFakeKernel,    InitFakeIommufd, InitFd,           InitTrace,
                           InitPoll,      InitIommufd,       InitHwpt,        InitViommu,       InitVfioDevice,
                           InitVfioReset, InitVfioContainer, InitMigration,   InitMappedRegion, InitInterrupts,
                           InitDmaBuf,    InitSyncFile,      InitDmaMemory,   InitUnixSocket,   InitRun}) {
    init(env, exports);
  }
#ifdef VFIO_DMABUF_RAW_CALLS
  InitRawCalls(env, exports);
#endif
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
