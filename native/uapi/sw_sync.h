// The ioctls of debugfs's sw_sync (drivers/dma-buf/sw_sync.c; it has no public header): a timeline whose fences a
// program signals.
#pragma once

#include "uapi/ioctl.h"

namespace uapi {

struct sw_sync_create_fence_data {
  uint32_t value;
  char name[32];  // ignored
  int32_t fence;  // out
};
static_assert(sizeof(sw_sync_create_fence_data) == 40 && offsetof(sw_sync_create_fence_data, fence) == 36);

struct sw_sync_get_deadline {
  uint64_t deadline_ns;  // out
  uint32_t pad;
  int32_t fence_fd;
};
static_assert(sizeof(sw_sync_get_deadline) == 16 && offsetof(sw_sync_get_deadline, fence_fd) == 12);

constexpr request_t SW_SYNC_IOC_CREATE_FENCE = IoctlReadWrite('W', 0, sizeof(sw_sync_create_fence_data));
constexpr request_t SW_SYNC_IOC_INC = IoctlWrite('W', 1, sizeof(uint32_t));
constexpr request_t SW_SYNC_GET_DEADLINE = IoctlReadWrite('W', 2, sizeof(sw_sync_get_deadline));

}  // namespace uapi
