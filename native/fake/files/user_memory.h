// The caller's memory, as the kernel sees it: what cannot be read or written there is EFAULT, and no fault.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "uapi/ioctl.h"

namespace fake {

// Whether the argument of this ioctl can be read, as far as the kernel reads it before it looks at its size. Requests
// that have no pointer for an argument pass.
bool IsArgumentThere(uapi::request_t request, const void* argument);

// False: EFAULT.
bool CopyFromUser(void* to, const void* from, std::size_t size);
bool CopyToUser(void* to, const void* from, std::size_t size);

inline const void* UserPointer(uint64_t address) { return reinterpret_cast<const void*>(address); }
inline void* WritableUserPointer(uint64_t address) { return reinterpret_cast<void*>(address); }

// An array whose length the caller told. None: EFAULT.
template <typename T>
std::optional<std::vector<T>> CopyArrayFromUser(const void* from, std::size_t count) {
  std::vector<T> array(count);
  if (!CopyFromUser(array.data(), from, count * sizeof(T))) return std::nullopt;
  return array;
}

// Up to its end, and at most `most` characters. None: EFAULT.
std::optional<std::string> CopyStringFromUser(const char* from, std::size_t most);

// Whether a struct can be read. False: EFAULT.
template <typename T>
bool IsThere(const void* from) {
  T ignored;
  return CopyFromUser(&ignored, from, sizeof(ignored));
}

// Ors bits into a bitmap of the caller's, of whole bytes. False: EFAULT.
class UserBitmap {
 public:
  explicit UserBitmap(uint64_t address) : address_(address) {}
  bool Set(uint64_t first, uint64_t last);

 private:
  uint64_t address_;
};

}  // namespace fake
