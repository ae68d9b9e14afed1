// The interface for all calls to a kernel. LinuxKernel makes system calls. FakeKernel answers the same requests with
// the same bytes from models. calls.inc lists the calls.
#pragma once

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace kernel {

// The registers of a device model. Each access of `width` bytes (1, 2, 4 or 8) is a call.
class MmioTrap {
 public:
  virtual ~MmioTrap() = default;
  virtual uint64_t Read(uint64_t offset, unsigned width) = 0;
  virtual void Write(uint64_t offset, unsigned width, uint64_t value) = 0;
};

struct MappedPages {
  void* address = nullptr;         // before mmap(2): the wanted address
  std::shared_ptr<MmioTrap> trap;  // set if loads and stores must be calls and not accesses at `address`
  std::shared_ptr<void> hold;      // released when the mapping ends
};

// The flags of mmap(2) that say where a mapping must be.
#ifdef MAP_32BIT
constexpr int kPlacement = MAP_FIXED | MAP_FIXED_NOREPLACE | MAP_32BIT;
#else  // other architectures than x86
constexpr int kPlacement = MAP_FIXED | MAP_FIXED_NOREPLACE;
#endif

// The fds and flags of a received message.
struct Received {
  static constexpr unsigned kMost = 253;  // SCM_MAX_FD
  int fds[kMost];                         // close-on-exec; the caller owns them
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
