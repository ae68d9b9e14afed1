// The Init functions: each file of this folder has one, which adds the file's functions to the addon's exports.
#pragma once

#include <napi.h>

#include "binding/function.h"

namespace binding {

void InitKernel(Napi::Env env, Napi::Object exports);
void InitFakeKernel(Napi::Env env, Napi::Object exports);
void InitFakeIommufd(Napi::Env env, Napi::Object exports);
#ifdef VFIO_DMABUF_RAW_CALLS
void InitRawCalls(Napi::Env env, Napi::Object exports);  // test/native/raw_calls.cc
#endif
void InitFd(Napi::Env env, Napi::Object exports);
void InitTrace(Napi::Env env, Napi::Object exports);
void InitPoll(Napi::Env env, Napi::Object exports);
void InitIommufd(Napi::Env env, Napi::Object exports);
void InitHwpt(Napi::Env env, Napi::Object exports);
void InitViommu(Napi::Env env, Napi::Object exports);
void InitVfioDevice(Napi::Env env, Napi::Object exports);
void InitVfioReset(Napi::Env env, Napi::Object exports);
void InitVfioContainer(Napi::Env env, Napi::Object exports);
void InitMigration(Napi::Env env, Napi::Object exports);
void InitMappedRegion(Napi::Env env, Napi::Object exports);
void InitInterrupts(Napi::Env env, Napi::Object exports);
void InitDmaBuf(Napi::Env env, Napi::Object exports);
void InitSyncFile(Napi::Env env, Napi::Object exports);
void InitDmaMemory(Napi::Env env, Napi::Object exports);
void InitUnixSocket(Napi::Env env, Napi::Object exports);
void InitRun(Napi::Env env, Napi::Object exports);

}  // namespace binding
