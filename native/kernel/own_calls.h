// Marks the system calls that this library makes for itself. The preload library of `vfio-dmabuf run` replaces
// functions of the C library; it passes these calls on to the system unchanged.
#pragma once

namespace kernel {

inline constinit thread_local unsigned own_calls = 0;  // > 0: this thread is in this library's code

class OwnCalls {
 public:
  OwnCalls() { ++own_calls; }
  OwnCalls(const OwnCalls&) = delete;
  OwnCalls& operator=(const OwnCalls&) = delete;
  ~OwnCalls() { --own_calls; }
};

}  // namespace kernel
