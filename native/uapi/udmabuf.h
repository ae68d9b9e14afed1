// The ioctls of /dev/udmabuf (linux/udmabuf.h), which create a dma-buf from pages of sealed memfds.
#pragma once

#include "uapi/ioctl.h"

namespace uapi {

constexpr uint32_t UDMABUF_FLAGS_CLOEXEC = 0x01;

struct udmabuf_create {
  uint32_t memfd;
  uint32_t flags;
  uint64_t offset;
  uint64_t size;
};
static_assert(sizeof(udmabuf_create) == 24 && offsetof(udmabuf_create, offset) == 8);

struct udmabuf_create_item {
  uint32_t memfd;
  uint32_t __pad;
  uint64_t offset;
  uint64_t size;
};
static_assert(sizeof(udmabuf_create_item) == 24 && offsetof(udmabuf_create_item, offset) == 8);

// Followed by `count` items.
struct udmabuf_create_list {
  uint32_t flags;
  uint32_t count;
};
static_assert(sizeof(udmabuf_create_list) == 8 && offsetof(udmabuf_create_list, count) == 4);

constexpr request_t UDMABUF_CREATE = IoctlWrite('u', 0x42, sizeof(udmabuf_create));
constexpr request_t UDMABUF_CREATE_LIST = IoctlWrite('u', 0x43, sizeof(udmabuf_create_list));

}  // namespace uapi
