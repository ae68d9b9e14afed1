// Lets the processor execute an instruction on a copy of a device's registers. The thread continues in a copy of the
// instruction whose memory operand is the copy of the registers. If the instruction writes, a second fault after it
// gives the written bytes to the device.
#pragma once

#include <cstdint>
#include <optional>

#include "preload/registers/instruction.h"
#include "preload/registers/trap_table.h"

namespace preload {

// Returns where the thread must continue; it goes on at `next` afterwards. nullopt: this instruction cannot be copied.
std::optional<uint64_t> Replay(const Instruction& instruction, const uint8_t* code, const TrappedAddress& registers,
                               uint64_t next);
// After a fault at `code_at`: if it is the end of a copied instruction, writes the bytes to the device, and returns
// where the thread must continue.
std::optional<uint64_t> FinishReplay(uint64_t code_at);

}  // namespace preload
