// The capability chain after an info struct, as in drivers/vfio/vfio_main.c.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "fake/files/user_memory.h"
#include "uapi/vfio.h"

namespace fake {

struct InfoCapability {
  uint16_t id;
  uint16_t version;
  std::vector<uint8_t> data;  // behind the header
};

// Writes the chain after `info`; if the caller's argsz is too small, sets argsz to the needed size instead. False:
// EFAULT.
template <typename Info>
bool AddCapabilities(Info& info, uint32_t caps_flag, const std::vector<InfoCapability>& capabilities) {
  // A caller of the time before there were chains has no such field.
  const bool has_field = info.argsz >= offsetof(Info, cap_offset) + sizeof(info.cap_offset);
  if (has_field) info.cap_offset = 0;
  if (capabilities.empty()) return true;
  info.flags |= caps_flag;
  std::vector<uint8_t> chain;
  for (const auto& [id, version, data] : capabilities) {
    constexpr std::size_t kAlignment = 8;
    const std::size_t start = chain.size();
    const std::size_t size = (sizeof(uapi::vfio_info_cap_header) + data.size() + kAlignment - 1) & ~(kAlignment - 1);
    const bool last = &data == &capabilities.back().data;
    const auto next = last ? 0 : static_cast<uint32_t>(sizeof(info) + start + size);
    const uapi::vfio_info_cap_header header = {id, version, next};
    chain.resize(start + size);
    std::memcpy(chain.data() + start, &header, sizeof(header));
    if (!data.empty()) std::memcpy(chain.data() + start + sizeof(header), data.data(), data.size());
  }
  const auto needed = static_cast<uint32_t>(sizeof(info) + chain.size());
  if (info.argsz < needed) {
    info.argsz = needed;
    return true;
  }
  if (!CopyToUser(&info + 1, chain.data(), chain.size())) return false;
  info.cap_offset = sizeof(info);
  return true;
}

}  // namespace fake
