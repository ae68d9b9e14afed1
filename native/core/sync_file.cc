// The ioctls of sync files and of sw_sync.
#include "core/sync_file.h"

#include <cerrno>

#include "uapi/sw_sync.h"

namespace core {

bool IsSyncFile(const Fd& fd) { return fd.Path() == "anon_inode:sync_file"; }

SyncFileInfo GetSyncFileInfo(const Fd& fd) {
  SyncFileInfo info = {};
  fd.Ioctl(VFIO_DMABUF_REQUEST(SYNC_IOC_FILE_INFO), &info.file);
  // A sync file's fences can become fewer, never more.
  info.fences.resize(info.file.num_fences);
  info.file.sync_fence_info = reinterpret_cast<uint64_t>(info.fences.data());
  fd.Ioctl(VFIO_DMABUF_REQUEST(SYNC_IOC_FILE_INFO), &info.file);
  info.fences.resize(info.file.num_fences);
  return info;
}

std::shared_ptr<Fd> MergeSyncFiles(const Fd& fd, const Fd& other, const std::string& name) {
  uapi::sync_merge_data command = {.fd2 = other.number(), .fence = -1};
  name.copy(command.name, sizeof(command.name) - 1);
  fd.Ioctl(VFIO_DMABUF_REQUEST(SYNC_IOC_MERGE), &command);
  return std::make_shared<Fd>(fd.kernel(), command.fence);
}

void SetSyncFileDeadline(const Fd& fd, uint64_t deadline) {
  uapi::sync_set_deadline command = {.deadline_ns = deadline};
  fd.Ioctl(VFIO_DMABUF_REQUEST(SYNC_IOC_SET_DEADLINE), &command);
}

std::shared_ptr<Fd> CreateFence(const Fd& timeline, uint32_t value) {
  uapi::sw_sync_create_fence_data command = {.value = value, .fence = -1};
  timeline.Ioctl(VFIO_DMABUF_REQUEST(SW_SYNC_IOC_CREATE_FENCE), &command);
  return std::make_shared<Fd>(timeline.kernel(), command.fence);
}

void AdvanceTimeline(const Fd& timeline, uint32_t count) {
  timeline.Ioctl(VFIO_DMABUF_REQUEST(SW_SYNC_IOC_INC), &count);
}

std::optional<uint64_t> GetFenceDeadline(const Fd& timeline, const Fd& sync_file) {
  uapi::sw_sync_get_deadline command = {.fence_fd = sync_file.number()};
  const int result = timeline.kernel()->Ioctl(timeline.number(), uapi::SW_SYNC_GET_DEADLINE, &command);
  if (result == -ENOENT) return std::nullopt;
  Check(result, "ioctl", "SW_SYNC_GET_DEADLINE");
  return command.deadline_ns;
}

}  // namespace core
