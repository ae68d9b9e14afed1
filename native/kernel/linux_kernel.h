// The running Linux kernel: each call is the system call.
#pragma once

#include "kernel/kernel.h"

namespace kernel {

class LinuxKernel : public Kernel {
 public:
#define CALL(result, Method, syscall, parameters, arguments) result Method parameters override;
#include "kernel/calls.inc"
#undef CALL
};

}  // namespace kernel
