// The ioctls of a sync file, and the timelines of sw_sync, whose fences a program signals itself.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/fd.h"
#include "uapi/sync_file.h"

namespace core {

bool IsSyncFile(const Fd& fd);

struct SyncFileInfo {
  uapi::sync_file_info file;
  std::vector<uapi::sync_fence_info> fences;
};
SyncFileInfo GetSyncFileInfo(const Fd& fd);

// A sync file of the fences of both. The name is cut after 31 bytes; '': the kernel chooses one.
std::shared_ptr<Fd> MergeSyncFiles(const Fd& fd, const Fd& other, const std::string& name);
// The time by which the fences are needed, in nanoseconds of CLOCK_MONOTONIC: a hint to their driver.
void SetSyncFileDeadline(const Fd& fd, uint64_t deadline);

// A sync file of a fence that is signaled when the timeline reaches `value`.
std::shared_ptr<Fd> CreateFence(const Fd& timeline, uint32_t value);
void AdvanceTimeline(const Fd& timeline, uint32_t count);
// The earliest deadline that was set.
std::optional<uint64_t> GetFenceDeadline(const Fd& timeline, const Fd& sync_file);

}  // namespace core
