// Decodes one x86-64 instruction that accesses memory: where, how many bytes, and whether it reads or writes them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace preload {

constexpr std::size_t kLongestInstruction = 15;

struct Instruction {
  enum class Kind {
    kLoad,    // the bytes go to a general register
    kStore,   // a general register or an immediate goes to the bytes
    kString,  // movs, cmps, stos, lods, scas: the operands are at rsi and rdi
    kOther,   // anything else with one memory operand, to be executed by the processor
  };
  enum class Extend { kNone, kZero, kSign };

  Kind kind = Kind::kOther;
  unsigned length = 0;  // bytes of the instruction
  bool reads = false;   // the memory operand
  bool writes = false;
  unsigned width = 0;  // bytes of the memory operand; kString: of one element

  // kLoad, kStore
  unsigned register_number = 0;  // 0 to 15: rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, …
  bool is_high_byte = false;     // ah, ch, dh, bh: bits 8 to 15 of register_number
  unsigned register_width = 0;   // kLoad: bytes of the register that are written
  Extend extend = Extend::kNone;
  bool is_immediate = false;
  uint64_t immediate = 0;

  // kString
  uint8_t opcode = 0;  // of the form for bytes: 0xa4, 0xa6, 0xaa, 0xac, 0xae
  uint8_t repeat = 0;  // the prefix: 0, 0xf2 or 0xf3

  // The memory operand: base + index * scale + displacement.
  int base = -1;  // register number; -1: none
  int index = -1;
  unsigned scale = 1;
  int64_t displacement = 0;
  bool is_rip_relative = false;   // the base is the next instruction's address
  bool is_short_address = false;  // only 32 bits of the address count (prefix 0x67)
  bool has_segment = false;       // an fs or gs prefix
  unsigned modrm_at = 0;          // offset of the ModRM byte; 0: there is none
  unsigned operand_end = 0;       // offset after ModRM, SIB and displacement: where an immediate begins
};

// False: not an instruction that this decoder knows, or more than `size` bytes long.
bool Decode(const uint8_t* bytes, std::size_t size, Instruction* out);

// The memory operand of an SSE, AVX or AVX-512 move or arithmetic instruction.
struct VectorOpcode {
  unsigned map;  // 1: 0f, 2: 0f 38, 3: 0f 3a
  uint8_t opcode;
  uint8_t prefix;   // 0, 0x66, 0xf3, 0xf2
  bool is_wide;     // REX.W, VEX.W, EVEX.W
  unsigned vector;  // bytes of the vector: 16, 32, 64; 8: an MMX register
  bool is_avx;      // VEX or EVEX
};
// Sets reads, writes and width. `*immediate`: bytes of the immediate.
bool DecodeVector(const VectorOpcode& opcode, Instruction* out, unsigned* immediate);

}  // namespace preload
