// The memory operands of SSE and AVX instructions (Intel's manual, volume 2, appendix A).
#include "preload/registers/instruction.h"

namespace preload {
namespace {

bool Set(Instruction* out, unsigned width, bool writes = false) {
  out->reads = !writes;
  out->writes = writes;
  out->width = width;
  return true;
}

// The width of an operation on one float (0xf3), one double (0xf2) or a whole vector.
unsigned FloatWidth(const VectorOpcode& opcode) {
  const unsigned whole = opcode.vector == 8 ? 16 : opcode.vector;
  return opcode.prefix == 0xf3 ? 4 : opcode.prefix == 0xf2 ? 8 : whole;
}

bool DecodeMap1(const VectorOpcode& opcode, Instruction* out, unsigned* immediate) {
  const unsigned whole = opcode.vector == 8 ? 16 : opcode.vector;  // of instructions that have no MMX form
  const unsigned general = opcode.is_wide ? 8 : 4;
  const bool is_scalar = opcode.prefix == 0xf3 || opcode.prefix == 0xf2;
  switch (opcode.opcode) {
    case 0x10:  // movups, movss, movsd
      return Set(out, FloatWidth(opcode));
    case 0x11:
      return Set(out, FloatWidth(opcode), true);
    case 0x12:  // movlps; movsldup, movddup
    case 0x16:  // movhps; movshdup
      if (opcode.prefix == 0xf3) return Set(out, whole);
      if (opcode.prefix == 0xf2) return Set(out, whole == 32 ? 32 : 8);
      return Set(out, 8);
    case 0x13:
    case 0x17:
      return Set(out, 8, true);
    case 0x14:  // unpcklps
    case 0x15:
    case 0x28:  // movaps
      return Set(out, whole);
    case 0x29:
    case 0x2b:  // movntps
      return Set(out, whole, true);
    case 0x2a:  // cvtsi2ss; cvtpi2ps
      return Set(out, is_scalar ? general : 8);
    case 0x2c:  // cvttss2si
    case 0x2d:
      return Set(out, opcode.prefix == 0xf3 ? 4 : opcode.prefix == 0x66 ? 16 : 8);
    case 0x2e:  // ucomiss
    case 0x2f:
      return Set(out, opcode.prefix == 0x66 ? 8 : 4);
    case 0x5a:  // cvtps2pd
      if (opcode.prefix == 0) return Set(out, whole / 2);
      return Set(out, FloatWidth(opcode));
    case 0x5b:
      return Set(out, whole);
    case 0x6e:  // movd, movq
      return Set(out, general);
    case 0x7e:
      if (opcode.prefix == 0xf3) return Set(out, 8);
      return Set(out, general, true);
    case 0x6f:  // movq of MMX, movdqa, movdqu
      return Set(out, opcode.vector);
    case 0x7f:
      return Set(out, opcode.vector, true);
    case 0x70:  // pshuf
      *immediate = 1;
      return Set(out, opcode.vector);
    case 0xc2:  // cmpps
      *immediate = 1;
      return Set(out, FloatWidth(opcode));
    case 0xc4:  // pinsrw
      *immediate = 1;
      return Set(out, 2);
    case 0xc6:  // shufps
      *immediate = 1;
      return Set(out, whole);
    case 0xd6:  // movq
      return opcode.prefix == 0x66 && Set(out, 8, true);
    case 0xe6:  // cvtdq2pd
      return Set(out, opcode.prefix == 0xf3 ? whole / 2 : whole);
    case 0xe7:  // movntq, movntdq
      return Set(out, opcode.vector, true);
    case 0xf0:  // lddqu
      return opcode.prefix == 0xf2 && Set(out, whole);
    case 0x50:
    case 0xd7:
    case 0xf7:  // no memory operand
      return false;
    default:
      break;
  }
  if (opcode.opcode >= 0x51 && opcode.opcode <= 0x5f) return Set(out, FloatWidth(opcode));
  if (opcode.opcode >= 0x60 && opcode.opcode <= 0x62 && opcode.vector == 8) return Set(out, 4);
  if (opcode.opcode >= 0x60 && opcode.opcode <= 0x6d) return Set(out, opcode.vector);
  if (opcode.opcode >= 0x74 && opcode.opcode <= 0x76) return Set(out, opcode.vector);
  if (opcode.opcode == 0x7c || opcode.opcode == 0x7d || opcode.opcode == 0xd0) return Set(out, whole);
  if (opcode.opcode >= 0xd1 && opcode.opcode <= 0xfe) return Set(out, opcode.vector);
  return false;
}

bool DecodeMap2(const VectorOpcode& opcode, Instruction* out) {
  switch (opcode.opcode) {
    case 0x20:  // pmovsx, pmovzx: bytes to words, to doublewords, to quadwords, …
    case 0x23:
    case 0x25:
    case 0x30:
    case 0x33:
    case 0x35:
      return Set(out, opcode.vector / 2);
    case 0x21:
    case 0x24:
    case 0x31:
    case 0x34:
      return Set(out, opcode.vector / 4);
    case 0x22:
    case 0x32:
      return Set(out, opcode.vector / 8);
    case 0x18:  // vbroadcast
    case 0x58:
      return opcode.is_avx && Set(out, 4);
    case 0x19:
    case 0x59:
      return opcode.is_avx && Set(out, 8);
    case 0x1a:
    case 0x5a:
      return opcode.is_avx && Set(out, 16);
    case 0x78:
      return opcode.is_avx && Set(out, 1);
    case 0x79:
      return opcode.is_avx && Set(out, 2);
    default:
      break;
  }
  const uint8_t code = opcode.opcode;
  const bool is_whole = code <= 0x0b || code == 0x10 || code == 0x14 || code == 0x15 || code == 0x17 ||
                        (code >= 0x1c && code <= 0x1e) || (code >= 0x28 && code <= 0x2b) ||
                        (code >= 0x36 && code <= 0x41) || (code >= 0xdb && code <= 0xdf);
  return is_whole && Set(out, opcode.vector);
}

bool DecodeMap3(const VectorOpcode& opcode, Instruction* out, unsigned* immediate) {
  *immediate = 1;
  const unsigned general = opcode.is_wide ? 8 : 4;
  switch (opcode.opcode) {
    case 0x0a:  // roundss
      return Set(out, 4);
    case 0x0b:  // roundsd
      return Set(out, 8);
    case 0x14:  // pextrb
      return Set(out, 1, true);
    case 0x15:
      return Set(out, 2, true);
    case 0x16:
      return Set(out, general, true);
    case 0x17:  // extractps
      return Set(out, 4, true);
    case 0x20:  // pinsrb
      return Set(out, 1);
    case 0x21:  // insertps
      return Set(out, 4);
    case 0x22:
      return Set(out, general);
    case 0x18:  // vinsertf128
    case 0x38:
      return Set(out, 16);
    case 0x19:  // vextractf128
    case 0x39:
      return Set(out, 16, true);
    default:
      break;
  }
  const uint8_t code = opcode.opcode;
  const bool is_whole = code <= 0x02 || (code >= 0x04 && code <= 0x06) || code == 0x08 || code == 0x09 ||
                        (code >= 0x0c && code <= 0x0f) || (code >= 0x40 && code <= 0x42) || code == 0x44 ||
                        code == 0x46 || (code >= 0x4a && code <= 0x4c) || (code >= 0x60 && code <= 0x63) ||
                        code == 0xdf;
  return is_whole && Set(out, opcode.vector);
}

}  // namespace

bool DecodeVector(const VectorOpcode& opcode, Instruction* out, unsigned* immediate) {
  if (opcode.map == 1) return DecodeMap1(opcode, out, immediate);
  if (opcode.map == 2) return DecodeMap2(opcode, out);
  return opcode.map == 3 && DecodeMap3(opcode, out, immediate);
}

}  // namespace preload
