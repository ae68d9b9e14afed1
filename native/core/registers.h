// Accesses to a device's registers. Each is one instruction of the register's width, ordered with accesses to memory as
// the Linux kernel's readb() … readq() and writeb() … writeq() are on the same architecture. A store comes after all
// earlier stores to memory: a descriptor is written before its doorbell. A load comes before all later loads and
// stores: data is read after the status that announced it.
//
// The functions return false if the access raised SIGBUS (core/bus_error.h).
#pragma once

#include <cstdint>

#include "core/bus_error.h"

namespace core {

#if defined(VFIO_DMABUF_FIXUP)

// Each access is one asm statement: it sets `failed`, accesses the register between the labels 1 and 2, and clears
// `failed`. After a bus error, the thread continues behind the last of these instructions, at label 2.

#if defined(__x86_64__)

// The processor keeps the order; "memory" stops the compiler from changing it.
#define VFIO_DMABUF_LOAD(instruction, register) \
  asm volatile("movl $1, %k[failed]\n1:\t" instruction        \
               " %[at], %" register "[value]\n\t"             \
               "xorl %k[failed], %k[failed]\n2:\n"            \
               VFIO_DMABUF_FIXUP                              \
               : [failed] "=&r"(failed), [value] "=r"(loaded) \
               : [at] "m"(*address)                           \
               : "memory", "cc")
#define VFIO_DMABUF_STORE(instruction, register) \
  asm volatile("movl $1, %k[failed]\n1:\t" instruction          \
               " %" register "[value], %[at]\n\t"               \
               "xorl %k[failed], %k[failed]\n2:\n"              \
               VFIO_DMABUF_FIXUP                                \
               : [failed] "=&r"(failed), [at] "=m"(*address)    \
               : [value] "r"(value)                             \
               : "memory", "cc")
#define VFIO_DMABUF_LOAD8 VFIO_DMABUF_LOAD("movzbl", "k")
#define VFIO_DMABUF_LOAD16 VFIO_DMABUF_LOAD("movzwl", "k")
#define VFIO_DMABUF_LOAD32 VFIO_DMABUF_LOAD("movl", "k")
#define VFIO_DMABUF_LOAD64 VFIO_DMABUF_LOAD("movq", "q")
#define VFIO_DMABUF_STORE8 VFIO_DMABUF_STORE("movb", "b")
#define VFIO_DMABUF_STORE16 VFIO_DMABUF_STORE("movw", "w")
#define VFIO_DMABUF_STORE32 VFIO_DMABUF_STORE("movl", "k")
#define VFIO_DMABUF_STORE64 VFIO_DMABUF_STORE("movq", "q")

#else

// The barriers cover the outer shareable domain, to which devices belong. The branch after a load depends on the loaded
// value: no later instruction, not even a read of the counter, starts before the device has answered.
#define VFIO_DMABUF_LOAD(instruction, register) \
  asm volatile("mov %w[failed], #1\n1:\t" instruction " %" register           \
               "[value], [%[at]]\n\t"                                         \
               "dmb oshld\n\teor %[zero], %[value], %[value]\n\t"             \
               "cbnz %[zero], .\n\tmov %w[failed], wzr\n2:\n"                 \
               VFIO_DMABUF_FIXUP                                              \
               : [failed] "=&r"(failed), [value] "=&r"(loaded), [zero] "=&r"(zero) \
               : [at] "r"(address)                                            \
               : "memory")
#define VFIO_DMABUF_STORE(instruction, register)                                               \
  asm volatile("dmb oshst\n\tmov %w[failed], #1\n1:\t" instruction                             \
               " %" register "[value], [%[at]]\n\tmov %w[failed], wzr\n2:\n" VFIO_DMABUF_FIXUP \
               : [failed] "=&r"(failed)                                                        \
               : [at] "r"(address), [value] "rZ"(uint64_t{value})                              \
               : "memory")
#define VFIO_DMABUF_LOAD8 VFIO_DMABUF_LOAD("ldrb", "w")
#define VFIO_DMABUF_LOAD16 VFIO_DMABUF_LOAD("ldrh", "w")
#define VFIO_DMABUF_LOAD32 VFIO_DMABUF_LOAD("ldr", "w")
#define VFIO_DMABUF_LOAD64 VFIO_DMABUF_LOAD("ldr", "x")
#define VFIO_DMABUF_STORE8 VFIO_DMABUF_STORE("strb", "w")
#define VFIO_DMABUF_STORE16 VFIO_DMABUF_STORE("strh", "w")
#define VFIO_DMABUF_STORE32 VFIO_DMABUF_STORE("str", "w")
#define VFIO_DMABUF_STORE64 VFIO_DMABUF_STORE("str", "x")

#endif

// `value` is undefined after a bus error.
template <typename T>
[[nodiscard]] inline bool LoadRegister(const volatile T* address, T* value) {
  uint32_t failed = 0;
  uint64_t loaded = 0;
  [[maybe_unused]] uint64_t zero = 0;
  if constexpr (sizeof(T) == 1) {
    VFIO_DMABUF_LOAD8;
  } else if constexpr (sizeof(T) == 2) {
    VFIO_DMABUF_LOAD16;
  } else if constexpr (sizeof(T) == 4) {
    VFIO_DMABUF_LOAD32;
  } else {
    VFIO_DMABUF_LOAD64;
  }
  *value = static_cast<T>(loaded);
  return failed == 0;
}

template <typename T>
[[nodiscard]] inline bool StoreRegister(volatile T* address, T value) {
  uint32_t failed = 0;
  if constexpr (sizeof(T) == 1) {
    VFIO_DMABUF_STORE8;
  } else if constexpr (sizeof(T) == 2) {
    VFIO_DMABUF_STORE16;
  } else if constexpr (sizeof(T) == 4) {
    VFIO_DMABUF_STORE32;
  } else {
    VFIO_DMABUF_STORE64;
  }
  return failed == 0;
}

#else

inline void OrderRegisters() {
#if defined(__riscv)
  asm volatile("fence iorw, iorw" : : : "memory");
#else
  __sync_synchronize();
#endif
}

// A volatile access of a scalar is one instruction.
template <typename T>
[[nodiscard]] bool LoadRegister(const volatile T* address, T* value) {
  return GuardBusErrors(address, sizeof(T), [=] {
    *value = *address;
    OrderRegisters();
  });
}
template <typename T>
[[nodiscard]] bool StoreRegister(volatile T* address, T value) {
  return GuardBusErrors(address, sizeof(T), [=] {
    OrderRegisters();
    *address = value;
  });
}

#endif

}  // namespace core
