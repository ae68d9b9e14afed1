// Commands on blocks.
#include <algorithm>
#include <cstring>

#include "fake/models/nvme/nvme.h"

namespace fake::nvme {
namespace {

enum IoOpcode : uint8_t {
  kFlush = 0x00,
  kWrite = 0x01,
  kRead = 0x02,
  kCompare = 0x05,
  kWriteZeroes = 0x08,
  kDatasetManagement = 0x09,
  kVerify = 0x0c,
  kCopy = 0x19,
};
constexpr bool IsIoCommand(uint8_t opcode) {
  return opcode <= kRead || opcode == kCompare || opcode == kWriteZeroes || opcode == kDatasetManagement ||
         opcode == kVerify || opcode == kCopy;
}
constexpr uint32_t kDeallocates = 1U << 2;
constexpr Status kInternalError = 0x0006;

}  // namespace

Namespace* Nvme::Find(uint32_t id) {
  const auto found = namespaces_.find(id);
  return found != namespaces_.end() && found->second.attached ? &found->second : nullptr;
}

Status Nvme::Io(const Command& command) {
  if (!IsNamespaceId(command.space())) return kInvalidNamespace;
  if (command.opcode() == kFlush && command.space() == kEveryNamespace) return kOk;
  Namespace* space = Find(command.space());
  if (!space) return kInvalidField;
  if (command.opcode() == kFlush) return kOk;  // what is written is stored at once
  if (!IsIoCommand(command.opcode())) return kInvalidOpcode;
  if (command.is_fused()) return kFieldOfFused;
  const bool is_inside = space->Has(command.first_block(), command.blocks());
  switch (command.opcode()) {
    case kDatasetManagement:
      return Deallocate(command, *space);
    case kCopy:
      return Copy(command, *space);
    case kCompare:
      return Compare(command, *space);
    case kWriteZeroes:
      if (!is_inside) return kOutOfRange;
      space->Erase(command.first_block(), command.blocks());
      return kOk;
    case kVerify:
      if (command.blocks() * space->stride() > kMostData) return kInvalidField;
      return is_inside ? kOk : kOutOfRange;
    default:
      return ReadOrWrite(command, *space);
  }
}

Status Nvme::ReadOrWrite(const Command& command, Namespace& space) {
  const uint64_t size = command.blocks() * space.block_bytes();
  const uint64_t sent = space.extended() ? command.blocks() * space.stride() : size;
  if (sent > kMostData) return kInvalidField;
  if (!space.Has(command.first_block(), command.blocks())) return kOutOfRange;
  if (command.opcode() == kRead) {
    Bytes blocks = space.Load(command.first_block(), command.blocks());
    const Status status = MoveBlocks(Access::kWrite, command, space, blocks);
    if (status == kOk) {
      statistics_.read += size;
      ++statistics_.reads;
    }
    return status;
  }
  Bytes blocks(command.blocks() * space.stride());
  const Status status = MoveBlocks(Access::kRead, command, space, blocks);
  if (status != kOk) return status;
  space.Store(command.first_block(), blocks);
  statistics_.written += size;
  ++statistics_.writes;
  return kOk;
}

// Moves blocks with metadata after each, or data and metadata in two buffers.
Status Nvme::MoveBlocks(Access access, const Command& command, const Namespace& space, Bytes& blocks) {
  const uint64_t metadata = space.metadata_bytes();
  if (space.extended() || metadata == 0) return Transfer(access, command, blocks);
  const uint64_t bytes = space.block_bytes();
  const uint64_t stride = space.stride();
  Bytes data(command.blocks() * bytes);
  Bytes more(command.blocks() * metadata);
  const auto join = [&](bool apart) {
    for (uint64_t i = 0; i < command.blocks(); ++i) {
      uint8_t* block = &blocks[i * stride];
      std::memcpy(apart ? &data[i * bytes] : block, apart ? block : &data[i * bytes], bytes);
      std::memcpy(apart ? &more[i * metadata] : block + bytes, apart ? block + bytes : &more[i * metadata], metadata);
    }
  };
  if (access == Access::kWrite) join(true);
  if (const Status bad = Transfer(access, command, data); bad != kOk) return bad;
  if (!Move(access, command.metadata(), more.data(), more.size())) return kTransferError;
  if (access == Access::kRead) join(false);
  return kOk;
}

Status Nvme::Compare(const Command& command, const Namespace& space) {
  if (command.blocks() * space.block_bytes() > kMostData) return kInvalidField;
  if (!space.Has(command.first_block(), command.blocks())) return kOutOfRange;
  Bytes sent(command.blocks() * space.stride());
  if (const Status bad = MoveBlocks(Access::kRead, command, space, sent); bad != kOk) return bad;
  ++statistics_.reads;
  statistics_.read += command.blocks() * space.block_bytes();
  return sent == space.Load(command.first_block(), command.blocks()) ? kOk : kCompareFailure;
}

Status Nvme::Deallocate(const Command& command, Namespace& space) {
  struct Range {
    uint32_t attributes;
    uint32_t count;
    uint64_t first;
  };
  if ((command.words[11] & kDeallocates) == 0) return kOk;
  const std::size_t count = (command.words[10] & 0xff) + 1;
  Bytes data(count * sizeof(Range));
  if (const Status bad = Transfer(Access::kRead, command, data); bad != kOk) return bad;
  for (std::size_t i = 0; i < count; ++i) {
    Range range = {};
    std::memcpy(&range, &data[i * sizeof(range)], sizeof(range));
    // It is advice: a range outside the namespace is no error.
    if (range.count > 0 && space.Has(range.first, range.count)) space.Erase(range.first, range.count);
  }
  return kOk;
}

Status Nvme::Copy(const Command& command, Namespace& space) {
  struct Range {
    std::array<uint8_t, 8> reserved;
    uint64_t first;
    uint16_t last;  // zeroes based
    std::array<uint8_t, 14> checks;
  };
  static_assert(sizeof(Range) == 32);
  const unsigned format = command.words[12] >> 8 & 0xf;
  const unsigned count = (command.words[12] & 0xff) + 1;
  if (format != 0) return kInvalidFormat;
  if (count > space.copy.ranges + 1U) return kSizeLimit;
  Bytes data(count * sizeof(Range));
  if (const Status bad = Transfer(Access::kRead, command, data); bad != kOk) return bad;
  std::vector<Range> ranges(count);
  std::memcpy(ranges.data(), data.data(), data.size());
  uint64_t all = 0;
  for (const Range& range : ranges) {
    const uint32_t blocks = range.last + 1U;
    // QEMU fails so where the specification has Command Size Limit Exceeded.
    if (blocks > space.copy.blocks_of_range) return kInternalError;
    if (!space.Has(range.first, blocks)) return kInternalError;
    all += blocks;
  }
  if (all > space.copy.blocks || !space.Has(command.first_block(), all)) return kInternalError;
  uint64_t to = command.first_block();
  for (const Range& range : ranges) {
    space.Store(to, space.Load(range.first, range.last + 1U));
    to += range.last + 1U;
  }
  return kOk;
}

}  // namespace fake::nvme
