// A VFIO device's interrupts and ioeventfds: one typed function for each form of the ioctls.
#pragma once

#include <vector>

#include "core/fd.h"
#include "uapi/vfio.h"

namespace core {

// What SET_IRQS changes: the vectors of one index, from `start` on. `action` is a VFIO_IRQ_SET_ACTION_*.
struct IrqSet {
  uint32_t action;
  uint32_t index;
  uint32_t start;
};

// To `count` vectors. TRIGGER of none disables the index.
void SetIrqs(const Fd& device, const IrqSet& set, uint32_t count);
// To those vectors whose byte is not 0.
void SetIrqs(const Fd& device, const IrqSet& set, const std::vector<uint8_t>& chosen);
// To each vector when its eventfd is signalled; or, with TRIGGER, signals the eventfd when the interrupt comes. -1:
// none.
void SetIrqs(const Fd& device, const IrqSet& set, const std::vector<int32_t>& eventfds);

// A write of `width` bytes (1, 2, 4 or 8) to a BAR, at the device's file offset `offset`.
struct EventWrite {
  uint64_t offset;
  uint32_t width;
  uint64_t data;
};

// Makes the write each time `eventfd` is signalled; -1 ends that.
void SetIoeventfd(const Fd& device, const EventWrite& write, int32_t eventfd);

// Reads an eventfd's count and sets it to 0.
uint64_t TakeCount(const Fd& eventfd);
void AddCount(const Fd& eventfd, uint64_t count);

}  // namespace core
