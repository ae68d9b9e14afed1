// A namespace: its blocks and their format. Blocks are kept in memory.
#pragma once

#include <array>
#include <cstdint>
#include <unordered_map>
#include <vector>

namespace fake::nvme {

// A format of blocks: 2^shift bytes, and bytes of metadata for each.
struct BlockFormat {
  uint8_t shift;
  uint8_t metadata;
};
constexpr std::array<BlockFormat, 8> kFormats = {
    {{9, 0}, {9, 8}, {9, 16}, {9, 64}, {12, 0}, {12, 8}, {12, 16}, {12, 64}}};

// The limits of a Copy command (MSSRL, MCL and MSRC).
struct CopyLimits {
  uint16_t blocks_of_range = 0;
  uint32_t blocks = 0;
  uint8_t ranges = 0;  // zeroes based
};

class Namespace {
 public:
  explicit Namespace(uint64_t bytes) : bytes_(bytes) {}

  // Forgets all blocks. With `extended`, metadata follows each block's data; otherwise it has its own buffer.
  void Format(unsigned index, bool extended);
  unsigned format() const { return format_; }
  bool extended() const { return extended_; }
  uint64_t block_bytes() const { return uint64_t{1} << kFormats.at(format_).shift; }
  uint64_t metadata_bytes() const { return kFormats.at(format_).metadata; }
  // Of a block and its metadata.
  uint64_t stride() const { return block_bytes() + metadata_bytes(); }
  uint64_t blocks() const { return bytes_ / stride(); }
  bool Has(uint64_t first, uint64_t count) const { return first <= blocks() && count <= blocks() - first; }

  // Blocks with their metadata after each: stride() bytes a block.
  std::vector<uint8_t> Load(uint64_t first, uint64_t count) const;
  void Store(uint64_t first, const std::vector<uint8_t>& data);
  void Erase(uint64_t first, uint64_t count);

  bool attached = true;
  bool write_cache = true;
  uint32_t error_recovery = 0;  // feature 05h
  CopyLimits copy = {};

 private:
  uint64_t bytes_;
  unsigned format_ = 0;
  bool extended_ = false;
  std::unordered_map<uint64_t, std::vector<uint8_t>> blocks_;  // those that were written
};

}  // namespace fake::nvme
