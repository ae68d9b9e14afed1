// Functions of sync files and of sw_sync's timelines.
#include "core/sync_file.h"

#include <cstring>

#include "binding/addon.h"

namespace binding {
namespace {

template <std::size_t size>
std::string ToText(const char (&text)[size]) {
  return {text, strnlen(text, size)};
}

}  // namespace

template <>
Napi::Value ToJs(Napi::Env env, const uapi::sync_fence_info& fence) {
  return Record(env)
      .Define("driver", ToText(fence.driver_name))
      .Define("timeline", ToText(fence.obj_name))
      .Define("status", fence.status)
      .Define("timestamp", fence.timestamp_ns);
}

template <>
Napi::Value ToJs(Napi::Env env, const core::SyncFileInfo& info) {
  return Record(env)
      .Define("name", ToText(info.file.name))
      .Define("status", info.file.status)
      .Define("fences", info.fences);
}

void InitSyncFile(Napi::Env env, Napi::Object exports) {
  Export<core::IsSyncFile>(env, exports, "syncFileIs");
  Export<core::GetSyncFileInfo>(env, exports, "syncFileInfo");
  Export<core::MergeSyncFiles>(env, exports, "syncFileMerge");
  Export<core::SetSyncFileDeadline>(env, exports, "syncFileSetDeadline");
  Export<core::CreateFence>(env, exports, "fenceCreate");
  Export<core::AdvanceTimeline>(env, exports, "timelineAdvance");
  Export<core::GetFenceDeadline>(env, exports, "fenceDeadline");
}

}  // namespace binding
