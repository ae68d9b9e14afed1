// The behaviour of a device's registers, and its DMA engine. Memory BARs (a CMB, video memory) are plain pages outside
// the models.
#pragma once

#include <cstddef>
#include <cstdint>

#include "fake/iommu/io_address_space.h"

namespace fake {

// The device's way onto the bus: through its bus-master bit and the IOMMU.
class DmaPort {
 public:
  virtual ~DmaPort() = default;
  // False: not all bytes were transferred.
  virtual bool Dma(Access access, uint64_t iova, void* buffer, std::size_t size) = 0;
  // The device's own memory BAR.
  virtual uint8_t* Memory(unsigned bar) = 0;
};

// The device's way to interrupt.
class InterruptPort {
 public:
  virtual ~InterruptPort() = default;
  virtual void SetIntx(bool asserted) = 0;
  virtual bool MsiEnabled() = 0;
  virtual bool MsixEnabled() = 0;
  virtual void SendMsi(unsigned vector) = 0;
};

class Model {
 public:
  virtual ~Model() = default;
  // One access of 1, 2, 4 or 8 bytes to a register or I/O port BAR.
  virtual uint64_t Read(unsigned bar, uint64_t offset, unsigned width) = 0;
  virtual void Write(unsigned bar, uint64_t offset, unsigned width, uint64_t value) = 0;
  // Function-level, or of the bus. QEMU's simpler devices ignore it.
  virtual void Reset() {}
};

}  // namespace fake
