// Info structs with an optional chain of capabilities after them.
#pragma once

#include <cstring>
#include <vector>

#include "core/fd.h"

namespace core {

// A fixed struct and the capability chain behind it, as the kernel filled them. `bytes` holds both.
template <typename Info>
struct InfoWithCapabilities {
  std::vector<uint8_t> bytes;
  Info info;
};

// Asks twice when there are capabilities: the first answer's argsz says how much room they need.
template <typename Info>
InfoWithCapabilities<Info> QueryInfo(const Fd& fd, uapi::request_t request, const char* name, Info info) {
  std::vector<uint8_t> bytes(sizeof(Info));
  for (;;) {
    info.argsz = static_cast<uint32_t>(bytes.size());
    std::memcpy(bytes.data(), &info, sizeof(Info));
    fd.Ioctl(request, name, bytes.data());
    Info answer;
    std::memcpy(&answer, bytes.data(), sizeof(Info));
    if (answer.argsz <= bytes.size()) return {std::move(bytes), answer};
    bytes.assign(answer.argsz, 0);
  }
}

}  // namespace core
