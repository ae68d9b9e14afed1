// A device whose registers only hold values: a read returns the reset value, or what was written to the writable bits.
// Enough for a display's mode registers.
#pragma once

#include <map>
#include <vector>

#include "fake/models/model.h"

namespace fake {

struct RegisterBlock {
  unsigned bar;
  uint64_t offset;
  std::vector<uint32_t> reset;     // from `offset` on
  std::vector<uint32_t> writable;  // writable bits are set; shorter than `reset`: the rest is read-only
};

class RegisterFile : public Model {
 public:
  explicit RegisterFile(const std::vector<RegisterBlock>& blocks);

  uint64_t Read(unsigned bar, uint64_t offset, unsigned width) override;
  void Write(unsigned bar, uint64_t offset, unsigned width, uint64_t value) override;

 private:
  struct Byte {
    uint8_t value;
    uint8_t writable;
  };
  std::map<std::pair<unsigned, uint64_t>, Byte> bytes_;  // by BAR and offset; what is not here reads as zero
};

// Registers of QEMU's devices, with the values read from them.
std::vector<RegisterBlock> BochsDisplayRegisters();
std::vector<RegisterBlock> SdhciRegisters();

}  // namespace fake
