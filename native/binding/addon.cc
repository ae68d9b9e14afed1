// The addon's entry point. It has no state: objects are behind handles, so any number of environments (worker threads)
// can load it.
#include "binding/addon.h"

namespace binding {

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
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
  return exports;
}

NODE_API_MODULE(vfio_dmabuf, Init)

}  // namespace binding
