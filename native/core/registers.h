// Accesses to a device's registers. Each is one instruction of the register's width, ordered with accesses to memory as
// the Linux kernel's readb() … readq() and writeb() … writeq() are on the same architecture. A store comes after all
// earlier stores to memory: a descriptor is written before its doorbell. A load comes before all later loads and
// stores: data is read after the status that announced it.
#pragma once

#include <cstdint>

namespace core {

#if defined(__aarch64__)

// The barrier after a load. It covers the outer shareable domain, to which devices belong. The branch depends on the
// loaded value: no later instruction, not even a read of the counter, starts before the device has answered.
[[gnu::always_inline]] inline void AfterLoad(uint64_t value) {
  uint64_t zero = 0;
  asm volatile("dmb oshld\n\teor %0, %1, %1\n\tcbnz %0, ." : "=r"(zero) : "r"(value) : "memory");
}

inline uint8_t LoadRegister(const volatile uint8_t* address) {
  uint32_t value = 0;
  asm volatile("ldrb %w0, [%1]" : "=r"(value) : "r"(address) : "memory");
  AfterLoad(value);
  return static_cast<uint8_t>(value);
}
inline uint16_t LoadRegister(const volatile uint16_t* address) {
  uint32_t value = 0;
  asm volatile("ldrh %w0, [%1]" : "=r"(value) : "r"(address) : "memory");
  AfterLoad(value);
  return static_cast<uint16_t>(value);
}
inline uint32_t LoadRegister(const volatile uint32_t* address) {
  uint32_t value = 0;
  asm volatile("ldr %w0, [%1]" : "=r"(value) : "r"(address) : "memory");
  AfterLoad(value);
  return value;
}
inline uint64_t LoadRegister(const volatile uint64_t* address) {
  uint64_t value = 0;
  asm volatile("ldr %0, [%1]" : "=r"(value) : "r"(address) : "memory");
  AfterLoad(value);
  return value;
}

inline void StoreRegister(volatile uint8_t* address, uint8_t value) {
  asm volatile("dmb oshst\n\tstrb %w0, [%1]" : : "rZ"(static_cast<uint32_t>(value)), "r"(address) : "memory");
}
inline void StoreRegister(volatile uint16_t* address, uint16_t value) {
  asm volatile("dmb oshst\n\tstrh %w0, [%1]" : : "rZ"(static_cast<uint32_t>(value)), "r"(address) : "memory");
}
inline void StoreRegister(volatile uint32_t* address, uint32_t value) {
  asm volatile("dmb oshst\n\tstr %w0, [%1]" : : "rZ"(value), "r"(address) : "memory");
}
inline void StoreRegister(volatile uint64_t* address, uint64_t value) {
  asm volatile("dmb oshst\n\tstr %x0, [%1]" : : "rZ"(value), "r"(address) : "memory");
}

#else

inline void OrderRegisters() {
#if defined(__x86_64__)
  asm volatile("" : : : "memory");  // the processor keeps the order; this stops the compiler from changing it
#elif defined(__riscv)
  asm volatile("fence iorw, iorw" : : : "memory");
#else
  __sync_synchronize();
#endif
}

// A volatile access of a scalar is one instruction.
template <typename T>
T LoadRegister(const volatile T* address) {
  const T value = *address;
  OrderRegisters();
  return value;
}
template <typename T>
void StoreRegister(volatile T* address, T value) {
  OrderRegisters();
  *address = value;
}

#endif

}  // namespace core
