// The slots in which copied instructions are executed.
#include "preload/registers/replay.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <utility>

namespace preload {
namespace {

constexpr unsigned kSlots = 256;  // used in turn; a slot is in use for the time of one instruction
constexpr uint8_t kHalt = 0xf4;   // hlt, which faults
// jmp to the address that follows
constexpr std::array<uint8_t, 6> kJump = {0xff, 0x25, 0, 0, 0, 0};

struct Slot {
  alignas(64) std::array<uint8_t, 64> code;
  alignas(64) std::array<uint8_t, 64> bytes;  // the copy of the registers
};

// What happens after the instruction of a slot.
struct After {
  TrappedAddress registers;
  unsigned width = 0;
  uint64_t next = 0;
};

struct Pool {
  Slot* slots;
  std::array<After, kSlots> after;
  std::atomic<unsigned> turn = 0;
};

Pool& ThePool() {
  static Pool* pool = [] {
    auto* made = new Pool;
    void* memory =
        mmap(nullptr, kSlots * sizeof(Slot), PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    made->slots = memory == MAP_FAILED ? nullptr : static_cast<Slot*>(memory);
    return made;
  }();
  return *pool;
}

// Moves the bytes between the copy and the device, in accesses of up to 8 bytes.
template <typename Move>
void InParts(unsigned width, const Move& move) {
  for (unsigned at = 0; at < width;) {
    const unsigned part = std::min(8U, width - at);
    move(at, part);
    at += part;
  }
}

}  // namespace

std::optional<uint64_t> Replay(const Instruction& instruction, const uint8_t* code, const TrappedAddress& registers,
                               uint64_t next) {
  auto& pool = ThePool();
  const unsigned modrm_at = instruction.modrm_at;
  if (!pool.slots || modrm_at == 0 || instruction.width > sizeof(Slot::bytes)) return std::nullopt;
  const unsigned index = pool.turn++ % kSlots;
  Slot& slot = pool.slots[index];
  if (instruction.reads) {
    InParts(instruction.width, [&](unsigned at, unsigned part) {
      const uint64_t value = registers.trap->Read(registers.offset + at, part);
      std::memcpy(slot.bytes.data() + at, &value, part);
    });
  }
  uint8_t* to = slot.code.data();
  const auto put = [&](const void* bytes, std::size_t size) {
    std::memcpy(to, bytes, size);
    to += size;
  };
  for (unsigned i = 0; i < modrm_at; ++i) {
    const bool is_address_size = code[i] == 0x67 && instruction.is_short_address;
    if (!is_address_size) put(code + i, 1);
  }
  const auto modrm = static_cast<uint8_t>((code[modrm_at] & 0x38) | 5);  // relative to the next instruction
  put(&modrm, 1);
  const unsigned immediate = instruction.length - instruction.operand_end;
  const auto displacement = static_cast<int32_t>(slot.bytes.data() - (to + sizeof(int32_t) + immediate));
  put(&displacement, sizeof(displacement));
  put(code + instruction.operand_end, immediate);
  if (instruction.writes) {
    pool.after.at(index) = {registers, instruction.width, next};
    put(&kHalt, 1);
  } else {
    put(kJump.data(), kJump.size());
    put(&next, sizeof(next));
  }
  return reinterpret_cast<uint64_t>(slot.code.data());
}

std::optional<uint64_t> FinishReplay(uint64_t code_at) {
  auto& pool = ThePool();
  const auto first = reinterpret_cast<uint64_t>(pool.slots);
  if (first == 0 || code_at < first || code_at >= first + kSlots * sizeof(Slot)) return std::nullopt;
  const auto index = static_cast<unsigned>((code_at - first) / sizeof(Slot));
  const After after = std::exchange(pool.after.at(index), {});
  if (!after.registers.trap) return std::nullopt;
  const Slot& slot = pool.slots[index];
  InParts(after.width, [&](unsigned at, unsigned part) {
    uint64_t value = 0;
    std::memcpy(&value, slot.bytes.data() + at, part);
    after.registers.trap->Write(after.registers.offset + at, part, value);
  });
  return after.next;
}

}  // namespace preload
