// Registers that hold values, with a mask for each.
#include "fake/models/register_file.h"

namespace fake {

RegisterFile::RegisterFile(const std::vector<RegisterBlock>& blocks) {
  for (const auto& block : blocks) {
    for (std::size_t i = 0; i < block.reset.size() * 4; ++i) {
      const auto byte_of = [i](const std::vector<uint32_t>& words) {
        return i / 4 < words.size() ? static_cast<uint8_t>(words[i / 4] >> (i % 4 * 8)) : uint8_t{0};
      };
      bytes_[{block.bar, block.offset + i}] = {byte_of(block.reset), byte_of(block.writable)};
    }
  }
}

uint64_t RegisterFile::Read(unsigned bar, uint64_t offset, unsigned width) {
  uint64_t value = 0;
  for (unsigned i = 0; i < width; ++i) {
    const auto found = bytes_.find({bar, offset + i});
    if (found != bytes_.end()) value |= uint64_t{found->second.value} << (i * 8);
  }
  return value;
}

void RegisterFile::Write(unsigned bar, uint64_t offset, unsigned width, uint64_t value) {
  for (unsigned i = 0; i < width; ++i) {
    const auto found = bytes_.find({bar, offset + i});
    if (found == bytes_.end()) continue;
    auto& [byte, writable] = found->second;
    byte = static_cast<uint8_t>((byte & ~writable) | (static_cast<uint8_t>(value >> (i * 8)) & writable));
  }
}

// SD host controller specification, section 2.2: the capabilities at 40h.
std::vector<RegisterBlock> SdhciRegisters() { return {{.bar = 0, .offset = 0x40, .reset = {0x057834b4}}}; }

// The VBE mode registers from 500h, 16 bits each: the identification, the mode as the firmware left it (1280 x 800, 32
// bits a pixel) and, at 514h, the memory's size in units of 64 KiB.
std::vector<RegisterBlock> BochsDisplayRegisters() {
  return {{.bar = 2,
           .offset = 0x500,
           .reset = {0x0500b0c5, 0x00200320, 1, 0, 0, 0x00000100},
           .writable = {0xffff0000, ~0U, ~0U, ~0U, ~0U}}};
}

}  // namespace fake
