// Every kind of instruction that compilers emit for an access to a device's registers.
#include <immintrin.h>

#include "vfio.h"

static Engine engine;

// The liveness register (4 bytes) reads back what was written, inverted. The DMA registers take 8 bytes.
static uint32_t Live() { return ~Word(engine, 4); }
static uint64_t Source() { return Long(engine, 0x80); }

static void Moves() {
  auto* live = engine.registers + 4;
  auto* source = engine.registers + 0x80;
  // The width is exact: the identification register answers 4 bytes only.
  CHECK(Word(engine, 0) == 0x010000ed);
  CHECK(*engine.registers == 0 && *reinterpret_cast<volatile uint16_t*>(engine.registers) == 0);
  CHECK(Long(engine, 0) == ~uint64_t{0});

  uint64_t value = 0x1122334455667788;
  asm volatile("movl %k1, (%0)" ::"r"(live), "r"(value) : "memory");
  CHECK(Live() == 0x55667788);
  asm volatile("movl $0x01020304, (%0)" ::"r"(live) : "memory");
  CHECK(Live() == 0x01020304);
  asm volatile("movq $-2, (%0)" ::"r"(source) : "memory");
  CHECK(Source() == ~uint64_t{1});
  asm volatile("movq %1, (%0)" ::"r"(source), "r"(value) : "memory");
  CHECK(Source() == value);
  // Writes of 1 and 2 bytes are ignored by this device, and are not written as more.
  asm volatile("movb $1, (%0); movw $1, (%0); movb %%ah, (%0)" ::"b"(source) : "memory");
  CHECK(Source() == value);

  // A load of 4 bytes clears the upper half; one of 1 or 2 leaves the rest.
  uint64_t out = ~uint64_t{0};
  asm volatile("movl (%1), %k0" : "+r"(out) : "r"(live));
  CHECK(out == static_cast<uint32_t>(~0x01020304U));
  out = ~uint64_t{0};
  asm volatile("movb (%1), %b0" : "+r"(out) : "r"(live));
  CHECK(out == 0xffffffffffffff00);
  out = ~uint64_t{0};
  asm volatile("movw (%1), %w0" : "+r"(out) : "r"(live));
  CHECK(out == 0xffffffffffff0000);
  out = ~uint64_t{0};
  asm volatile("movb (%1), %%ah" : "+a"(out) : "b"(live));
  CHECK(out == 0xffffffffffff00ff);
  asm volatile("movzbl (%1), %k0" : "=r"(out) : "r"(live));
  CHECK(out == 0);
  asm volatile("movzwq (%1), %0" : "=r"(out) : "r"(live));
  CHECK(out == 0);
  Word(engine, 4) = 0x7fffffff;  // reads as 0x80000000
  asm volatile("movslq (%1), %0" : "=r"(out) : "r"(live));
  CHECK(out == 0xffffffff80000000);
  asm volatile("movsbq (%1), %0; movswl (%1), %k0" : "=r"(out) : "r"(live));
  CHECK(out == 0);

  // Addresses: index and scale, relative to r13 and rsp, 32-bit displacement, and the high registers.
  asm volatile("movq %1, %%r13; movq $2, %%r14; movl $77, (%%r13, %%r14, 2)" ::"r"(0L), "r"(engine.registers)
               : "r13", "r14", "memory");
  CHECK(Live() == 77);
  asm volatile("movq %0, %%r12; movl $78, -0x12345678(%%r12)" ::"r"(live + 0x12345678) : "r12", "memory");
  CHECK(Live() == 78);
  asm volatile("movq %0, %%r15; movl $79, %%r9d; movl %%r9d, 4(%%r15)" ::"r"(engine.registers) : "r15", "r9", "memory");
  CHECK(Live() == 79);
  asm volatile("movnti %1, (%0)" ::"r"(live), "r"(80) : "memory");
  CHECK(Live() == 80);
  asm volatile("movbe %1, (%0)" ::"r"(live), "r"(0x01000000) : "memory");
  CHECK(Live() == 1);
}

static void Arithmetic() {
  auto* live = engine.registers + 4;
  auto* source = engine.registers + 0x80;
  Long(engine, 0x80) = 0xf0;
  asm volatile("orq $0x0f, (%0)" ::"r"(source) : "memory", "cc");
  CHECK(Source() == 0xff);
  asm volatile("andq %1, (%0)" ::"r"(source), "r"(uint64_t{0x3c}) : "memory", "cc");
  CHECK(Source() == 0x3c);
  asm volatile("xorq $-1, (%0)" ::"r"(source) : "memory", "cc");
  CHECK(Source() == ~uint64_t{0x3c});
  asm volatile("notq (%0); incq (%0); decq (%0); addq $0x1000, (%0); subq $4, (%0); negq (%0)" ::"r"(source)
               : "memory", "cc");
  CHECK(Source() == -uint64_t{0x1038});
  Long(engine, 0x80) = 5;
  uint64_t value = 7;
  asm volatile("xchgq %0, (%1)" : "+r"(value) : "r"(source) : "memory");
  CHECK(value == 5 && Source() == 7);
  asm volatile("lock xaddq %0, (%1)" : "+r"(value) : "r"(source) : "memory", "cc");
  CHECK(value == 7 && Source() == 12);
  uint64_t expected = 12;
  bool equal = false;
  asm volatile("lock cmpxchgq %3, (%2)" : "+a"(expected), "=@cce"(equal) : "r"(source), "r"(uint64_t{99}) : "memory");
  CHECK(equal && Source() == 99);
  expected = 1;
  asm volatile("lock cmpxchgq %3, (%2)" : "+a"(expected), "=@cce"(equal) : "r"(source), "r"(uint64_t{3}) : "memory");
  CHECK(!equal && expected == 99 && Source() == 99);
  __atomic_fetch_or(reinterpret_cast<volatile uint64_t*>(source), 0x100, __ATOMIC_SEQ_CST);
  CHECK(Source() == (99 | 0x100));
  asm volatile("shlq $4, (%0); rolq (%0); btsq $0, (%0)" ::"r"(source) : "memory", "cc");
  CHECK(Source() == (((99 | 0x100) << 5) | 1));

  Word(engine, 4) = ~41U;  // reads as 41
  bool less = false;
  asm volatile("cmpl $42, (%1)" : "=@ccb"(less) : "r"(live));
  CHECK(less);
  asm volatile("testl $1, (%1)" : "=@ccne"(less) : "r"(live));
  CHECK(less);
  uint32_t sum = 1;
  asm volatile("addl (%1), %0" : "+r"(sum) : "r"(live) : "cc");
  CHECK(sum == 42);
  asm volatile("imull $3, (%1), %0" : "=r"(sum) : "r"(live) : "cc");
  CHECK(sum == 123);
  asm volatile("cmpl %0, %0; cmovel (%1), %0" : "+r"(sum) : "r"(live) : "cc");
  CHECK(sum == 41);
  uint64_t pushed = 0;
  asm volatile("pushq (%1); popq %0" : "=r"(pushed) : "r"(source) : "memory");
  CHECK(pushed == Source());
  asm volatile("pushq $0x55; popq (%0)" ::"r"(source) : "memory");
  CHECK(Source() == 0x55);
}

static void Strings() {
  auto* source = engine.registers + 0x80;
  uint64_t words[2] = {0x0102030405060708, 0x1112131415161718};
  void* to = const_cast<uint8_t*>(source);
  void* from = words;
  uint64_t count = 2;
  asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
  CHECK(count == 0 && to == source + 16 && from == words + 2);
  CHECK(Source() == words[0] && Long(engine, 0x88) == words[1]);
  uint64_t read[2] = {};
  to = read;
  from = const_cast<uint8_t*>(source);
  count = 2;
  asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
  CHECK(std::memcmp(read, words, sizeof(words)) == 0 && count == 0);
  to = const_cast<uint8_t*>(source);
  count = 2;
  asm volatile("rep stosq" : "+D"(to), "+c"(count) : "a"(uint64_t{9}) : "memory");
  CHECK(Source() == 9 && Long(engine, 0x88) == 9);
  uint64_t value = 0;
  from = const_cast<uint8_t*>(source);
  asm volatile("lodsq" : "=a"(value), "+S"(from));
  CHECK(value == 9 && from == source + 8);
  to = const_cast<uint8_t*>(source);
  bool equal = false;
  asm volatile("scasq" : "+D"(to), "=@cce"(equal) : "a"(value));
  CHECK(equal && to == source + 8);
  // Between the registers and memory that ends in the middle of the copy.
  Long(engine, 0x88) = 10;
  uint64_t same[2] = {9, 11};
  from = const_cast<uint8_t*>(source);
  to = same;
  count = 2;
  asm volatile("repe cmpsq" : "+D"(to), "+S"(from), "+c"(count), "=@cce"(equal) : : "memory");
  CHECK(!equal && count == 0);
  // The C library's copies use what this processor has.
  std::memcpy(const_cast<uint8_t*>(source), words, sizeof(words));
  CHECK(Source() == words[0] && Long(engine, 0x88) == words[1]);
}

__attribute__((target("avx2"))) static void Avx(volatile uint8_t* source) {
  const uint64_t words[4] = {1, 2, 3, 4};
  auto* at = reinterpret_cast<__m256i*>(const_cast<uint8_t*>(source));
  _mm256_storeu_si256(at, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words)));
  CHECK(Source() == 1 && Long(engine, 0x88) == 2 && Long(engine, 0x90) == 3);
  uint64_t read[4] = {};
  asm volatile("vmovdqu (%0), %%ymm9; vmovdqu %%ymm9, (%1)" ::"r"(source), "r"(read) : "xmm9", "memory");
  CHECK(read[0] == 1 && read[1] == 2 && read[2] == 3);
  asm volatile("vpbroadcastq (%0), %%ymm3; vmovdqu %%ymm3, (%1)" ::"r"(source), "r"(read) : "xmm3", "memory");
  CHECK(read[3] == 1);
}

__attribute__((target("avx512f,avx512vl"))) static void Avx512(volatile uint8_t* source) {
  uint64_t words[4] = {5, 6, 7, 8};
  asm volatile("vmovdqu64 (%1), %%ymm17; vmovdqu64 %%ymm17, -0x20(%0)" ::"r"(source + 0x20), "r"(words)
               : "xmm17", "memory");
  CHECK(Source() == 5 && Long(engine, 0x88) == 6 && Long(engine, 0x90) == 7);
  asm volatile("vmovdqu64 (%0), %%xmm20; vmovdqu64 %%xmm20, (%1)" ::"r"(source), "r"(words + 2) : "xmm20", "memory");
  CHECK(words[2] == 5 && words[3] == 6);
}

static void Vectors() {
  auto* source = engine.registers + 0x80;
  auto* at = reinterpret_cast<__m128i*>(const_cast<uint8_t*>(source));
  _mm_storeu_si128(at, _mm_set_epi64x(0x77, 0x66));
  CHECK(Source() == 0x66 && Long(engine, 0x88) == 0x77);
  _mm_stream_si128(at, _mm_set_epi64x(0x79, 0x68));
  CHECK(Source() == 0x68 && Long(engine, 0x88) == 0x79);
  uint64_t read[2] = {};
  _mm_storeu_si128(reinterpret_cast<__m128i*>(read), _mm_load_si128(at));
  CHECK(read[0] == 0x68 && read[1] == 0x79);
  asm volatile("movq %1, %%xmm8; movq %%xmm8, (%0)" ::"r"(source), "r"(uint64_t{0x1234}) : "xmm8", "memory");
  CHECK(Source() == 0x1234);
  asm volatile("movd %1, %%xmm1; movd %%xmm1, (%0)" ::"r"(engine.registers + 4), "r"(0x4321) : "xmm1", "memory");
  CHECK(Live() == 0x4321);
  asm volatile("movsd (%1), %%xmm1; movq %%xmm1, %0" : "=r"(read[0]) : "r"(source) : "xmm1");
  CHECK(read[0] == 0x1234);
  asm volatile("pxor %%xmm2, %%xmm2; paddq (%1), %%xmm2; movq %%xmm2, %0" : "=r"(read[0]) : "r"(source) : "xmm2");
  CHECK(read[0] == 0x1234);
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2")) Avx(source);
  if (__builtin_cpu_supports("avx512vl")) Avx512(source);
}

int main() {
  engine = OpenEngine();
  Moves();
  Arithmetic();
  Strings();
  Vectors();
  std::puts("done");
}
