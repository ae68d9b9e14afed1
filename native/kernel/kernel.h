// The seam: every call to a kernel goes through a Kernel. LinuxKernel makes system calls; the fake kernel answers the
// same requests, with the same bytes, from models. The calls are listed in calls.inc.
#pragma once

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace kernel {

// Registers of a model: each access of `width` bytes (1, 2, 4 or 8) is a call.
class MmioTrap {
 public:
  virtual ~MmioTrap() = default;
  virtual uint64_t Read(uint64_t offset, unsigned width) = 0;
  virtual void Write(uint64_t offset, unsigned width, uint64_t value) = 0;
};

struct MappedPages {
  void* address = nullptr;
  std::shared_ptr<MmioTrap> trap;  // set when loads and stores at `address` would not reach the device
  std::shared_ptr<void> hold;      // lives as long as the mapping
};

// The fds and flags of a received message.
struct Received {
  static constexpr unsigned kMost = 253;  // SCM_MAX_FD
  int fds[kMost];                         // close-on-exec; the caller's
  unsigned count;
  int flags;  // recvmsg(2)'s: MSG_TRUNC, MSG_CTRUNC
};

class Kernel {
 public:
  virtual ~Kernel() = default;

#define CALL(result, Method, syscall, parameters, arguments) virtual result Method parameters = 0;
#include "kernel/calls.inc"
#undef CALL
};

}  // namespace kernel
