// Carries out an instruction that accesses registers of a device, with the state of the thread that executed it.
#pragma once

#include <ucontext.h>

#include <cstdint>

namespace preload {

enum class Outcome {
  kDone,       // the thread can go on
  kUnknown,    // the instruction cannot be carried out
  kBadMemory,  // another operand of the instruction is memory that cannot be accessed
};

// `address`: where the fault was, in a trapped mapping. kBadMemory: `*bad_address` is set.
Outcome CarryOut(ucontext_t& context, uintptr_t address, uintptr_t* bad_address);

}  // namespace preload
