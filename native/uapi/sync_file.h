// The ioctls of a sync file (linux/sync_file.h): an fd of one or more fences.
#pragma once

#include "uapi/ioctl.h"

namespace uapi {

struct sync_merge_data {
  char name[32];
  int32_t fd2;
  int32_t fence;  // out
  uint32_t flags;
  uint32_t pad;
};
static_assert(sizeof(sync_merge_data) == 48 && offsetof(sync_merge_data, fence) == 36);

struct sync_fence_info {
  char obj_name[32];
  char driver_name[32];
  int32_t status;  // 0: pending, 1: signaled, else a negated errno
  uint32_t flags;
  uint64_t timestamp_ns;  // CLOCK_MONOTONIC; 0: pending
};
static_assert(sizeof(sync_fence_info) == 80 && offsetof(sync_fence_info, timestamp_ns) == 72);

struct sync_file_info {
  char name[32];
  int32_t status;
  uint32_t flags;
  uint32_t num_fences;  // in: the array's length, or 0 to get the number; out: the number of fences
  uint32_t pad;
  uint64_t sync_fence_info;  // address of an array of sync_fence_info
};
static_assert(sizeof(sync_file_info) == 56 && offsetof(sync_file_info, sync_fence_info) == 48);

struct sync_set_deadline {
  uint64_t deadline_ns;  // CLOCK_MONOTONIC
  uint64_t pad;
};
static_assert(sizeof(sync_set_deadline) == 16);

constexpr request_t SYNC_IOC_MERGE = IoctlReadWrite('>', 3, sizeof(sync_merge_data));
constexpr request_t SYNC_IOC_FILE_INFO = IoctlReadWrite('>', 4, sizeof(sync_file_info));
constexpr request_t SYNC_IOC_SET_DEADLINE = IoctlWrite('>', 5, sizeof(sync_set_deadline));

}  // namespace uapi
