// Loads, stores and string instructions are carried out here. All others are executed by the processor on a copy of the
// registers' bytes (replay.h).
#include "preload/registers/access.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "fake/files/user_memory.h"
#include "kernel/page_size.h"
#include "preload/registers/instruction.h"
#include "preload/registers/replay.h"
#include "preload/registers/trap_table.h"

namespace preload {
namespace {

using Kind = Instruction::Kind;

// The general registers by their number in instructions.
constexpr std::array<int, 16> kRegisters = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                                            REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
constexpr unsigned kRcx = 1;
constexpr unsigned kRsi = 6;
constexpr unsigned kRdi = 7;
constexpr greg_t kDirection = 0x400;
constexpr greg_t kZero = 0x40;

uint64_t Mask(unsigned width) { return width == 8 ? ~uint64_t{0} : (uint64_t{1} << 8 * width) - 1; }

class Thread {
 public:
  explicit Thread(ucontext_t& context) : registers_(context.uc_mcontext.gregs) {}

  uint64_t Get(unsigned number) const { return static_cast<uint64_t>(registers_[kRegisters.at(number)]); }
  void Set(unsigned number, uint64_t value) { registers_[kRegisters.at(number)] = static_cast<greg_t>(value); }
  // Writes a part of a register: 4 bytes clear the upper half; 1 and 2 leave the rest.
  void SetPart(const Instruction& part, uint64_t value) {
    const unsigned shift = part.is_high_byte ? 8 : 0;
    const uint64_t mask = part.register_width >= 4 ? ~uint64_t{0} : Mask(part.register_width) << shift;
    const uint64_t bits = part.register_width == 4 ? value & Mask(4) : value << shift;
    Set(part.register_number, (Get(part.register_number) & ~mask) | (bits & mask));
  }
  uint64_t instruction() const { return static_cast<uint64_t>(registers_[REG_RIP]); }
  void GoTo(uint64_t address) { registers_[REG_RIP] = static_cast<greg_t>(address); }
  greg_t& flags() { return registers_[REG_EFL]; }

  uintptr_t AddressOf(const Instruction& instruction) const {
    uint64_t address = static_cast<uint64_t>(instruction.displacement);
    if (instruction.base >= 0) address += Get(static_cast<unsigned>(instruction.base));
    if (instruction.index >= 0) address += Get(static_cast<unsigned>(instruction.index)) * instruction.scale;
    if (instruction.is_rip_relative) address += this->instruction() + instruction.length;
    return instruction.is_short_address ? address & Mask(4) : address;
  }

 private:
  greg_t* registers_;
};

uint64_t Extended(uint64_t value, const Instruction& load) {
  if (load.extend != Instruction::Extend::kSign) return value;
  const unsigned unused = 64 - 8 * load.width;
  return static_cast<uint64_t>(static_cast<int64_t>(value << unused) >> unused);
}

// Reads the bytes at an instruction pointer, up to the end of the readable memory.
std::size_t ReadCode(uint64_t address, uint8_t* out) {
  std::size_t size = kLongestInstruction;
  const uint64_t page = kernel::PageSize();
  const std::size_t in_page = std::min<uint64_t>(size, page - address % page);
  std::memcpy(out, fake::UserPointer(address), in_page);
  if (in_page < size && !fake::CopyFromUser(out + in_page, fake::UserPointer(address + in_page), size - in_page)) {
    size = in_page;
  }
  return size;
}

// One operand of a string instruction: registers of a device, or memory of the program.
std::optional<uint64_t> ReadElement(uintptr_t address, unsigned width) {
  const auto found = TrapTable::Get().Find(address);
  if (found.trap) return found.trap->Read(found.offset, width);
  uint64_t value = 0;
  if (!fake::CopyFromUser(&value, fake::UserPointer(address), width)) return std::nullopt;
  return value;
}

bool WriteElement(uintptr_t address, unsigned width, uint64_t value) {
  const auto found = TrapTable::Get().Find(address);
  if (!found.trap) return fake::CopyToUser(fake::WritableUserPointer(address), &value, width);
  found.trap->Write(found.offset, width, value);
  return true;
}

// The flags of `left - right`, as cmp sets them.
greg_t Compare(uint64_t left, uint64_t right, unsigned width, greg_t flags) {
  const uint64_t mask = Mask(width);
  const uint64_t result = (left - right) & mask;
  const uint64_t sign = uint64_t{1} << (8 * width - 1);
  greg_t out = flags & ~greg_t{0x8d5};
  if ((left & mask) < (right & mask)) out |= 0x1;
  if (__builtin_parity(static_cast<unsigned>(result & 0xff)) == 0) out |= 0x4;
  if ((left & 0xf) < (right & 0xf)) out |= 0x10;
  if (result == 0) out |= kZero;
  if ((result & sign) != 0) out |= 0x80;
  if (((left ^ right) & (left ^ result) & sign) != 0) out |= 0x800;
  return out;
}

// One element. False: `*bad_address` cannot be accessed.
bool MoveElement(Thread& thread, const Instruction& string, uintptr_t* bad_address) {
  const uint64_t from = thread.Get(kRsi);
  const uint64_t to = thread.Get(kRdi);
  const bool uses_source = string.opcode == 0xa4 || string.opcode == 0xa6 || string.opcode == 0xac;
  const bool stores = string.opcode == 0xa4 || string.opcode == 0xaa;
  const bool compares = string.opcode == 0xa6 || string.opcode == 0xae;
  std::optional<uint64_t> value = thread.Get(0);  // al, ax, eax, rax
  if (uses_source) {
    value = ReadElement(from, string.width);
    *bad_address = from;
  }
  if (!value) return false;
  if (stores && !WriteElement(to, string.width, *value)) {
    *bad_address = to;
    return false;
  }
  if (compares) {
    const auto other = ReadElement(to, string.width);
    *bad_address = to;
    if (!other) return false;
    thread.flags() = Compare(*value, *other, string.width, thread.flags());
  }
  if (string.opcode == 0xac) {
    Instruction part = string;
    part.register_width = string.width;
    thread.SetPart(part, *value);
  }
  const uint64_t step = (thread.flags() & kDirection) != 0 ? -uint64_t{string.width} : uint64_t{string.width};
  if (uses_source) thread.Set(kRsi, from + step);
  if (string.opcode != 0xac) thread.Set(kRdi, to + step);
  return true;
}

Outcome CarryOutString(Thread& thread, const Instruction& string, uintptr_t* bad_address) {
  const uint64_t next = thread.instruction() + string.length;
  if (string.is_short_address) return Outcome::kUnknown;
  if (string.repeat == 0) {
    if (!MoveElement(thread, string, bad_address)) return Outcome::kBadMemory;
    thread.GoTo(next);
    return Outcome::kDone;
  }
  while (thread.Get(kRcx) != 0) {
    // Where no registers are accessed any more, the processor continues the instruction.
    auto& table = TrapTable::Get();
    if (!table.Find(thread.Get(kRsi)).trap && !table.Find(thread.Get(kRdi)).trap) return Outcome::kDone;
    if (!MoveElement(thread, string, bad_address)) return Outcome::kBadMemory;
    thread.Set(kRcx, thread.Get(kRcx) - 1);
    const bool compares = string.opcode == 0xa6 || string.opcode == 0xae;
    const bool equal = (thread.flags() & kZero) != 0;
    if (compares && equal != (string.repeat == 0xf3)) break;
  }
  thread.GoTo(next);
  return Outcome::kDone;
}

}  // namespace

Outcome CarryOut(ucontext_t& context, uintptr_t address, uintptr_t* bad_address) {
  Thread thread(context);
  std::array<uint8_t, kLongestInstruction> code = {};
  const std::size_t size = ReadCode(thread.instruction(), code.data());
  Instruction instruction;
  if (!Decode(code.data(), size, &instruction)) return Outcome::kUnknown;
  if (instruction.kind == Kind::kString) return CarryOutString(thread, instruction, bad_address);
  if (instruction.has_segment) return Outcome::kUnknown;
  const uintptr_t start = thread.AddressOf(instruction);
  const auto found = TrapTable::Get().Find(start);
  // The fault is at the first byte, or at the first page, that cannot be accessed.
  if (!found.trap || instruction.width > found.left || address < start || address >= start + instruction.width) {
    return Outcome::kUnknown;
  }
  const uint64_t next = thread.instruction() + instruction.length;
  if (instruction.kind == Kind::kOther) {
    const auto code_at = Replay(instruction, code.data(), found, next);
    if (!code_at) return Outcome::kUnknown;
    thread.GoTo(*code_at);
    return Outcome::kDone;
  }
  if (instruction.kind == Kind::kLoad) {
    thread.SetPart(instruction, Extended(found.trap->Read(found.offset, instruction.width), instruction));
  } else {
    const uint64_t value = instruction.is_immediate
                               ? instruction.immediate
                               : thread.Get(instruction.register_number) >> (instruction.is_high_byte ? 8 : 0);
    found.trap->Write(found.offset, instruction.width, value & Mask(instruction.width));
  }
  thread.GoTo(next);
  return Outcome::kDone;
}

}  // namespace preload
