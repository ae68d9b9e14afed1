// Functions of sync files and of sw_sync's timelines.
#include "core/sync_file.h"

#include <cstring>

#include "binding/addon.h"
#include "binding/call.h"
#include "binding/handle.h"

namespace binding {
namespace {

template <std::size_t size>
Napi::String ToText(Napi::Env env, const char (&text)[size]) {
  return Napi::String::New(env, text, strnlen(text, size));
}

// syncFileIs(fd): boolean
Napi::Value SyncFileIs(const Napi::CallbackInfo& info) {
  const auto fd = Unwrap<core::Fd>(info[0]);
  return Napi::Boolean::New(info.Env(), core::IsSyncFile(*fd));
}

// syncFileInfo(fd): { name, status, fences: { driver, timeline, status, timestamp }[] }
Napi::Value SyncFileInfo(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto fd = Unwrap<core::Fd>(info[0]);
  const core::SyncFileInfo found = core::GetSyncFileInfo(*fd);
  List fences(env);
  for (const uapi::sync_fence_info& fence : found.fences) {
    Record object(env);
    object.Define("driver", ToText(env, fence.driver_name));
    object.Define("timeline", ToText(env, fence.obj_name));
    object.Define("status", fence.status);
    object.Define("timestamp", FromU64(env, fence.timestamp_ns));
    fences.Append(object);
  }
  Record result(env);
  result.Define("name", ToText(env, found.file.name));
  result.Define("status", found.file.status);
  result.Define("fences", fences);
  return result;
}

// syncFileMerge(fd, other, name): Fd
Napi::Value SyncFileMerge(const Napi::CallbackInfo& info) {
  const auto fd = Unwrap<core::Fd>(info[0]);
  const auto other = Unwrap<core::Fd>(info[1]);
  const std::string name = info[2].As<Napi::String>().Utf8Value();
  return Wrap(info.Env(), core::MergeSyncFiles(*fd, *other, name));
}

// syncFileSetDeadline(fd, nanoseconds)
void SyncFileSetDeadline(const Napi::CallbackInfo& info) {
  const auto fd = Unwrap<core::Fd>(info[0]);
  const uint64_t deadline = ToU64(info[1]);
  core::SetSyncFileDeadline(*fd, deadline);
}

// fenceCreate(timeline, value): Fd, a sync file
Napi::Value FenceCreate(const Napi::CallbackInfo& info) {
  const auto timeline = Unwrap<core::Fd>(info[0]);
  const uint32_t value = ToU32(info[1]);
  return Wrap(info.Env(), core::CreateFence(*timeline, value));
}

// timelineAdvance(timeline, count)
void TimelineAdvance(const Napi::CallbackInfo& info) {
  const auto timeline = Unwrap<core::Fd>(info[0]);
  const uint32_t count = ToU32(info[1]);
  core::AdvanceTimeline(*timeline, count);
}

// fenceDeadline(timeline, sync file): bigint, or undefined if no deadline was set
Napi::Value FenceDeadline(const Napi::CallbackInfo& info) {
  const auto timeline = Unwrap<core::Fd>(info[0]);
  const auto sync_file = Unwrap<core::Fd>(info[1]);
  const auto deadline = core::GetFenceDeadline(*timeline, *sync_file);
  return deadline ? FromU64(info.Env(), *deadline) : info.Env().Undefined();
}

}  // namespace

void InitSyncFile(Napi::Env env, Napi::Object exports) {
  Export<SyncFileIs>(env, exports, "syncFileIs");
  Export<SyncFileInfo>(env, exports, "syncFileInfo");
  Export<SyncFileMerge>(env, exports, "syncFileMerge");
  Export<SyncFileSetDeadline>(env, exports, "syncFileSetDeadline");
  Export<FenceCreate>(env, exports, "fenceCreate");
  Export<TimelineAdvance>(env, exports, "timelineAdvance");
  Export<FenceDeadline>(env, exports, "fenceDeadline");
}

}  // namespace binding
