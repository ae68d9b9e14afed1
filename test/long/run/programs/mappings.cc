// Where registers and memory of a device are mapped.
#include "vfio.h"

int main() {
  Engine engine = OpenEngine();
  constexpr std::size_t kPage = 4096;
  auto* space = static_cast<uint8_t*>(mmap(nullptr, 16 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  const int device = engine.device;
  const auto map = [&](uint8_t* at, std::size_t length, int flags, off_t offset) {
    return static_cast<uint8_t*>(mmap(at, length, PROT_READ | PROT_WRITE, MAP_SHARED | flags, device, offset));
  };
  // As DPDK does: a part of a reservation.
  engine.registers = map(space + kPage, 2 * kPage, MAP_FIXED, 0);
  CHECK(engine.registers == space + kPage && Word(engine, 0) == 0x010000ed);
  CHECK(map(space + kPage, kPage, MAP_FIXED_NOREPLACE, 0) == MAP_FAILED && errno == EEXIST);
  // The second page of the mapping is at offset 4096; it stays when the first is gone.
  Word(engine, 4) = ~9U;
  CHECK(munmap(space + kPage, kPage) == 0);
  engine.registers = map(space + 4 * kPage, kPage, MAP_FIXED, 0);
  CHECK(Word(engine, 4) == 9);
  // Memory in place of registers, and registers in place of memory.
  void* memory = mmap(space + 4 * kPage, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  CHECK(memory == space + 4 * kPage && Word(engine, 4) == 0);
  Word(engine, 4) = 1;
  CHECK(Word(engine, 4) == 1);
  engine.registers = map(space + 4 * kPage, kPage, MAP_FIXED, 0);
  CHECK(Word(engine, 4) == 9);
  CHECK(mprotect(const_cast<uint8_t*>(engine.registers), kPage, PROT_READ | PROT_WRITE) == 0 && Word(engine, 4) == 9);
  CHECK(mmap(nullptr, kPage, PROT_READ, MAP_PRIVATE, device, 0) == MAP_FAILED && errno == EINVAL);
  CHECK(mmap(nullptr, 2 << 20, PROT_READ, MAP_SHARED, device, 0) == MAP_FAILED && errno == EINVAL);
  std::puts("done");
}
