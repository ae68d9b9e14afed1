// Each register access as its own function. scripts/test-native.ts checks the instructions.
#include "core/registers.h"

#define VFIO_DMABUF_ACCESS(bits)                                                   \
  extern "C" uint##bits##_t load##bits(const volatile uint##bits##_t* at) {        \
    uint##bits##_t value = 0;                                                      \
    static_cast<void>(core::LoadRegister(at, &value));                             \
    return value;                                                                  \
  }                                                                                \
  extern "C" bool store##bits(volatile uint##bits##_t* at, uint##bits##_t value) { \
    return core::StoreRegister(at, value);                                         \
  }

VFIO_DMABUF_ACCESS(8)
VFIO_DMABUF_ACCESS(16)
VFIO_DMABUF_ACCESS(32)
VFIO_DMABUF_ACCESS(64)

// The accesses of a block access must not be merged.
extern "C" void load_two(const volatile uint32_t* at, uint32_t* out) {
  static_cast<void>(core::LoadRegister(at, out));
  static_cast<void>(core::LoadRegister(at + 1, out + 1));
}
extern "C" void store_two(volatile uint32_t* at, const uint32_t* in) {
  static_cast<void>(core::StoreRegister(at, in[0]));
  static_cast<void>(core::StoreRegister(at + 1, in[1]));
}
