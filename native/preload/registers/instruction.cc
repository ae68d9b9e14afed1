// Prefixes, opcodes of general instructions, and the memory operand (Intel's manual, volume 2, chapter 2 and appendix
// A).
#include "preload/registers/instruction.h"

namespace preload {
namespace {

using Kind = Instruction::Kind;
using Extend = Instruction::Extend;

class Decoder {
 public:
  Decoder(const uint8_t* bytes, std::size_t size, Instruction* out) : bytes_(bytes), size_(size), out_(*out) {}

  bool Run() {
    ReadPrefixes();
    const uint8_t first = Next();
    bool known = false;
    if (first == 0xc5) {
      known = ReadVex2();
    } else if (first == 0xc4) {
      known = ReadVex3();
    } else if (first == 0x62) {
      known = ReadEvex();
    } else if (first == 0x0f) {
      known = ReadEscaped();
    } else {
      known = General(first);
    }
    if (!known || at_ + immediate_ > size_) return false;
    if (immediate_ > 0) ReadImmediate();
    out_.length = at_;
    return true;
  }

 private:
  uint8_t Next() { return at_ < size_ ? bytes_[at_++] : (at_ = kTooLong, uint8_t{0}); }
  // Signed, in little-endian order.
  int64_t NextNumber(unsigned bytes) {
    uint64_t number = 0;
    for (unsigned i = 0; i < bytes; ++i) number |= uint64_t{Next()} << 8 * i;
    const unsigned unused = 64 - 8 * bytes;
    return bytes == 0 ? 0 : static_cast<int64_t>(number << unused) >> unused;
  }
  void ReadImmediate() { out_.immediate = static_cast<uint64_t>(NextNumber(immediate_)); }

  void ReadPrefixes() {
    for (;; ++at_) {
      const uint8_t byte = at_ < size_ ? bytes_[at_] : uint8_t{0};
      if (byte == 0x66) {
        has_operand_size_ = true;
      } else if (byte == 0x67) {
        out_.is_short_address = true;
      } else if (byte == 0xf2 || byte == 0xf3) {
        repeat_ = byte;
      } else if (byte == 0x64 || byte == 0x65) {
        out_.has_segment = true;
      } else if (byte != 0xf0 && byte != 0x26 && byte != 0x2e && byte != 0x36 && byte != 0x3e) {
        break;
      }
    }
    if (at_ < size_ && (bytes_[at_] & 0xf0) == 0x40) {
      const uint8_t rex = bytes_[at_++];
      has_rex_ = true;
      is_wide_ = (rex & 8) != 0;
      register_high_ = (rex & 4) != 0 ? 8 : 0;
      index_high_ = (rex & 2) != 0 ? 8 : 0;
      base_high_ = (rex & 1) != 0 ? 8 : 0;
    }
  }

  unsigned OperandSize() const { return is_wide_ ? 8 : has_operand_size_ ? 2 : 4; }
  // An immediate of up to 4 bytes.
  unsigned ImmediateSize() const { return has_operand_size_ && !is_wide_ ? 2 : 4; }
  uint8_t Prefix() const { return repeat_ != 0 ? repeat_ : has_operand_size_ ? 0x66 : 0; }

  // Reads ModRM, SIB and displacement. False: the operand is a register. `scale8`: what an 8-bit displacement counts.
  bool ReadOperand(unsigned scale8 = 1) {
    out_.modrm_at = at_;
    const uint8_t modrm = Next();
    const unsigned mod = modrm >> 6;
    field_ = modrm >> 3 & 7;
    const unsigned rm = modrm & 7;
    if (mod == 3) return false;
    bool wide_displacement = mod == 2;
    if (rm == 4) {
      const uint8_t sib = Next();
      out_.scale = 1U << (sib >> 6);
      const unsigned index = (sib >> 3 & 7U) + index_high_;
      if (index != 4) out_.index = static_cast<int>(index);
      if ((sib & 7) == 5 && mod == 0) {
        wide_displacement = true;
      } else {
        out_.base = static_cast<int>((sib & 7U) + base_high_);
      }
    } else if (rm == 5 && mod == 0) {
      out_.is_rip_relative = wide_displacement = true;
    } else {
      out_.base = static_cast<int>(rm + base_high_);
    }
    if (mod == 1) out_.displacement = NextNumber(1) * static_cast<int64_t>(scale8);
    if (wide_displacement) out_.displacement = NextNumber(4);
    out_.operand_end = at_;
    return at_ != kTooLong;
  }

  bool Access(bool reads, bool writes, unsigned width, unsigned immediate = 0) {
    out_.reads = reads;
    out_.writes = writes;
    out_.width = width;
    immediate_ = immediate;
    return true;
  }
  bool Read(unsigned width, unsigned immediate = 0) { return ReadOperand() && Access(true, false, width, immediate); }
  bool Write(unsigned width) { return ReadOperand() && Access(false, true, width); }
  bool Modify(unsigned width, unsigned immediate = 0) { return ReadOperand() && Access(true, true, width, immediate); }

  // The general register of the ModRM byte; `width`: bytes of it that are used.
  void UseRegister(unsigned width) {
    out_.register_number = field_ + register_high_;
    out_.is_high_byte = width == 1 && !has_rex_ && out_.register_number >= 4;
    if (out_.is_high_byte) out_.register_number -= 4;
    out_.register_width = width;
  }
  bool Load(unsigned width, unsigned to_width, Extend extend = Extend::kNone) {
    if (!Read(width)) return false;
    out_.kind = Kind::kLoad;
    out_.extend = extend;
    UseRegister(to_width);
    return true;
  }
  bool Store(unsigned width) {
    if (!Write(width)) return false;
    out_.kind = Kind::kStore;
    UseRegister(width);
    return true;
  }
  bool StoreImmediate(unsigned width, unsigned immediate) {
    if (!Write(width) || field_ != 0) return false;
    out_.kind = Kind::kStore;
    out_.is_immediate = true;
    immediate_ = immediate;
    return true;
  }
  // mov between rax and an absolute address
  bool Absolute(bool is_load, unsigned width) {
    out_.displacement = NextNumber(out_.is_short_address ? 4 : 8);
    out_.kind = is_load ? Kind::kLoad : Kind::kStore;
    out_.register_width = width;
    return Access(is_load, !is_load, width);
  }
  bool String(uint8_t opcode, unsigned width) {
    out_.kind = Kind::kString;
    out_.opcode = opcode;
    out_.repeat = repeat_;
    out_.width = width;
    return !out_.has_segment;
  }

  bool General(uint8_t opcode) {
    const unsigned size = (opcode & 1) != 0 ? OperandSize() : 1;
    if (opcode < 0x40 && (opcode & 7) < 4) {  // add, or, adc, sbb, and, sub, xor, cmp
      if ((opcode & 2) != 0 || opcode >= 0x38) return Read(size);
      return Modify(size);
    }
    switch (opcode) {
      case 0x63:  // movsxd
        return Load(4, OperandSize(), Extend::kSign);
      case 0x69:  // imul
        return Read(OperandSize(), ImmediateSize());
      case 0x6b:
        return Read(OperandSize(), 1);
      case 0x80:  // the arithmetic of 0x00 to 0x3f with an immediate; 7: cmp
      case 0x81:
      case 0x83:
        if (!Modify(size, opcode == 0x81 ? ImmediateSize() : 1)) return false;
        out_.writes = field_ != 7;
        return true;
      case 0x84:  // test
      case 0x85:
        return Read(size);
      case 0x86:  // xchg
      case 0x87:
        return Modify(size);
      case 0x88:  // mov
      case 0x89:
        return Store(size);
      case 0x8a:
      case 0x8b:
        return Load(size, size);
      case 0x8f:  // pop
        return Write(has_operand_size_ ? 2 : 8) && field_ == 0;
      case 0xa0:
      case 0xa1:
        return Absolute(true, size);
      case 0xa2:
      case 0xa3:
        return Absolute(false, size);
      case 0xa4:
      case 0xa5:
      case 0xa6:
      case 0xa7:
      case 0xaa:
      case 0xab:
      case 0xac:
      case 0xad:
      case 0xae:
      case 0xaf:
        return String(opcode & 0xfe, size);
      case 0xc0:  // shifts and rotations
      case 0xc1:
        return Modify(size, 1);
      case 0xd0:
      case 0xd1:
      case 0xd2:
      case 0xd3:
        return Modify(size);
      case 0xc6:
        return StoreImmediate(1, 1);
      case 0xc7:
        return StoreImmediate(OperandSize(), ImmediateSize());
      case 0xf6:  // test, not, neg, mul, imul, div, idiv
      case 0xf7:
        if (!Modify(size)) return false;
        if (field_ < 2) immediate_ = opcode == 0xf6 ? 1 : ImmediateSize();
        out_.writes = field_ == 2 || field_ == 3;
        return true;
      case 0xfe:  // inc, dec
        return Modify(1) && field_ < 2;
      case 0xff:  // inc, dec, push
        if (!Modify(OperandSize())) return false;
        if (field_ == 6) return Access(true, false, has_operand_size_ ? 2 : 8);
        return field_ < 2;
      default:
        return false;
    }
  }

  bool ReadEscaped() {
    const uint8_t opcode = Next();
    if (opcode == 0x38) return Escaped38(Next());
    if (opcode == 0x3a) return Vector(3, Next());
    const unsigned size = OperandSize();
    const unsigned small = (opcode & 1) != 0 ? size : 1;
    if (opcode >= 0x40 && opcode < 0x50) return Read(size);  // cmovcc
    if (opcode >= 0x90 && opcode < 0xa0) return Write(1);    // setcc
    switch (opcode) {
      case 0xa4:  // shld, shrd
      case 0xac:
        return Modify(size, 1);
      case 0xa5:
      case 0xad:
        return Modify(size);
      case 0xae:  // ldmxcsr, stmxcsr
        return ReadOperand() && (field_ == 2 || field_ == 3) && Access(field_ == 2, field_ == 3, 4);
      case 0xaf:  // imul
      case 0xb8:  // popcnt
      case 0xbc:  // bsf, tzcnt
      case 0xbd:  // bsr, lzcnt
        return Read(size);
      case 0xb0:  // cmpxchg
      case 0xb1:
      case 0xc0:  // xadd
      case 0xc1:
        return Modify(small);
      case 0xb6:  // movzx
      case 0xb7:
        return Load(opcode == 0xb6 ? 1 : 2, size, Extend::kZero);
      case 0xbe:  // movsx
      case 0xbf:
        return Load(opcode == 0xbe ? 1 : 2, size, Extend::kSign);
      case 0xba:  // bt, bts, btr, btc with an immediate
        return Modify(size, 1) && field_ >= 4 && Access(true, field_ != 4, size, 1);
      case 0xc3:  // movnti
        return Store(size);
      case 0xc7:  // cmpxchg8b, cmpxchg16b
        return Modify(is_wide_ ? 16 : 8) && field_ == 1;
      default:
        return Vector(1, opcode);
    }
  }

  bool Escaped38(uint8_t opcode) {
    const bool is_checksum = repeat_ == 0xf2;  // crc32
    if (opcode == 0xf0) return Read(is_checksum ? 1 : OperandSize());
    if (opcode == 0xf1) return is_checksum ? Read(OperandSize()) : Write(OperandSize());  // movbe
    if (opcode == 0xf6) return Read(is_wide_ ? 8 : 4);                                    // adcx, adox
    return Vector(2, opcode);
  }

  bool Vector(unsigned map, uint8_t opcode) {
    const uint8_t prefix = Prefix();
    return ReadOperand() && FinishVector({map, opcode, prefix, is_wide_, prefix == 0 ? 8U : 16U, false});
  }
  bool FinishVector(const VectorOpcode& opcode) { return DecodeVector(opcode, &out_, &immediate_); }

  bool ReadVex2() {
    const uint8_t byte = Next();
    register_high_ = (byte & 0x80) == 0 ? 8 : 0;
    return Vex(1, byte);
  }
  bool ReadVex3() {
    const uint8_t first = Next();
    const uint8_t second = Next();
    index_high_ = (first & 0x40) == 0 ? 8 : 0;
    base_high_ = (first & 0x20) == 0 ? 8 : 0;
    is_wide_ = (second & 0x80) != 0;
    return Vex(first & 0x1fU, second);
  }
  bool Vex(unsigned map, uint8_t byte) {
    constexpr uint8_t kPrefixes[] = {0, 0x66, 0xf3, 0xf2};
    const uint8_t opcode = Next();
    const uint8_t prefix = kPrefixes[byte & 3];
    if (!ReadOperand()) return false;
    const unsigned size = is_wide_ ? 8 : 4;
    // andn, blsr, bzhi, pext, pdep, mulx, bextr, shlx, sarx, shrx; rorx
    if (map == 2 && (opcode == 0xf2 || opcode == 0xf3 || opcode >= 0xf5)) return Access(true, false, size);
    if (map == 3 && opcode == 0xf0) return Access(true, false, size, 1);
    return FinishVector({map, opcode, prefix, is_wide_, (byte & 4) != 0 ? 32U : 16U, true});
  }

  // Only moves of whole vectors, without masks.
  bool ReadEvex() {
    const uint8_t first = Next();
    const uint8_t second = Next();
    const uint8_t third = Next();
    const uint8_t opcode = Next();
    const bool is_masked = (third & 7) != 0;
    const bool broadcasts = (third & 0x10) != 0;
    const unsigned vector = 16U << (third >> 5 & 3);
    index_high_ = (first & 0x40) == 0 ? 8 : 0;
    base_high_ = (first & 0x20) == 0 ? 8 : 0;
    is_wide_ = (second & 0x80) != 0;
    const uint8_t prefix = second & 3;
    const bool is_move = (opcode == 0x6f || opcode == 0x7f) && prefix != 0;
    const bool is_float_move = prefix < 2 && (opcode == 0x10 || opcode == 0x11 || opcode == 0x28 || opcode == 0x29 ||
                                              opcode == 0x2b || (opcode == 0xe7 && prefix == 1));
    if ((first & 7) != 1 || is_masked || broadcasts || vector > 64 || !(is_move || is_float_move)) return false;
    const bool is_load = opcode == 0x6f || opcode == 0x10 || opcode == 0x28;
    return ReadOperand(vector) && Access(is_load, !is_load, vector);
  }

  static constexpr unsigned kTooLong = 1000;

  const uint8_t* bytes_;
  std::size_t size_;
  Instruction& out_;
  unsigned at_ = 0;
  unsigned immediate_ = 0;
  unsigned field_ = 0;  // bits 3 to 5 of ModRM
  bool has_operand_size_ = false;
  bool has_rex_ = false;
  bool is_wide_ = false;
  uint8_t repeat_ = 0;
  unsigned register_high_ = 0;
  unsigned index_high_ = 0;
  unsigned base_high_ = 0;
};

}  // namespace

bool Decode(const uint8_t* bytes, std::size_t size, Instruction* out) {
  *out = {};
  return Decoder(bytes, size, out).Run();
}

}  // namespace preload
