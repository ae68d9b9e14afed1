// The exception that core throws when a call to the kernel fails. Core throws no other exceptions.
#pragma once

namespace core {

struct Failure {
  int error;            // errno, positive
  const char* syscall;  // "ioctl"
  const char* ioctl;    // "IOMMU_IOAS_MAP_FILE", or nullptr
};

// Returns the result of a Kernel's method. Throws a Failure if it is a negated errno.
template <typename T>
T Check(T result, const char* syscall, const char* ioctl = nullptr) {
  if (result < 0) throw Failure{static_cast<int>(-result), syscall, ioctl};
  return result;
}

}  // namespace core
