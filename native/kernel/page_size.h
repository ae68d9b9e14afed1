// The system's page size: 4 KiB on x86, up to 64 KiB elsewhere.
#pragma once

#include <unistd.h>

#include <cstdint>

namespace kernel {

inline uint64_t PageSize() {
  static const auto kSize = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  return kSize;
}

}  // namespace kernel
