// Encodes an ioctl's direction, argument size, type letter and number into a request code, as Linux does.
#pragma once

#include <cstddef>
#include <cstdint>

namespace uapi {

using request_t = unsigned long;

constexpr request_t IoctlNone(unsigned type, unsigned number) { return (type << 8) | number; }

constexpr request_t IoctlWrite(unsigned type, unsigned number, std::size_t size) {
  return (1UL << 30) | (static_cast<request_t>(size) << 16) | IoctlNone(type, number);
}

constexpr request_t IoctlReadWrite(unsigned type, unsigned number, std::size_t size) {
  return (2UL << 30) | IoctlWrite(type, number, size);
}

}  // namespace uapi
