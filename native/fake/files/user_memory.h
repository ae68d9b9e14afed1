// Access to the caller's memory as in the kernel: bad addresses are EFAULT and not a SIGSEGV.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "uapi/ioctl.h"

namespace fake {

// Whether the part of an ioctl's argument can be read that the kernel reads before it knows the argument's size. True
// for requests whose argument is not a pointer.
bool IsArgumentThere(uapi::request_t request, const void* argument);

// Returns false for EFAULT.
bool CopyFromUser(void* to, const void* from, std::size_t size);
bool CopyToUser(void* to, const void* from, std::size_t size);

inline const void* UserPointer(uint64_t address) { return reinterpret_cast<const void*>(address); }
inline void* WritableUserPointer(uint64_t address) { return reinterpret_cast<void*>(address); }

// Copies an array with a length from the caller. nullopt: EFAULT.
template <typename T>
std::optional<std::vector<T>> CopyArrayFromUser(const void* from, std::size_t count) {
  std::vector<T> array(count);
  if (!CopyFromUser(array.data(), from, count * sizeof(T))) return std::nullopt;
  return array;
}

// Copies a string, at most `most` characters. nullopt: EFAULT.
std::optional<std::string> CopyStringFromUser(const char* from, std::size_t most);

// Whether the caller's memory has a readable T at `from`. False: EFAULT.
template <typename T>
bool IsThere(const void* from) {
  T ignored;
  return CopyFromUser(&ignored, from, sizeof(ignored));
}

// A bitmap of whole bytes in the caller's memory. Set() sets bits and returns false for EFAULT.
class UserBitmap {
 public:
  explicit UserBitmap(uint64_t address) : address_(address) {}
  bool Set(uint64_t first, uint64_t last);

 private:
  uint64_t address_;
};

}  // namespace fake
