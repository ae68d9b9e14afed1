// QEMU's "edu" device: an identification, a few toy registers, interrupts, and a DMA engine with a 4 KiB buffer
// (docs/specs/edu in QEMU's tree describes it). Here a transfer is over when the write that starts it returns.
#pragma once

#include <array>

#include "fake/models/model.h"

namespace fake {

class Edu : public Model {
 public:
  Edu(DmaPort& port, InterruptPort& interrupts) : port_(port), interrupt_port_(interrupts) {}

  uint64_t Read(unsigned bar, uint64_t offset, unsigned width) override;
  void Write(unsigned bar, uint64_t offset, unsigned width, uint64_t value) override;

 private:
  void Start(uint64_t command);
  void Raise(uint32_t causes);
  void Acknowledge(uint32_t causes);

  DmaPort& port_;
  InterruptPort& interrupt_port_;
  uint32_t liveness_ = 0;
  uint32_t factorial_ = 0;
  uint32_t status_ = 0;
  uint32_t interrupts_ = 0;
  uint64_t source_ = 0;
  uint64_t destination_ = 0;
  uint64_t count_ = 0;
  uint64_t command_ = 0;
  std::array<uint8_t, 4096> buffer_ = {};
  bool running_ = false;  // a transfer that reaches the engine's own registers starts no other
};

}  // namespace fake
