// /dev/udmabuf (linux/udmabuf.h): a dma-buf made of a sealed memfd's pages.
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

constexpr request_t UDMABUF_CREATE = IoctlWrite('u', 0x42, sizeof(udmabuf_create));

}  // namespace uapi
