// A command's data: lists of pages (PRP) and scatter-gather lists (SGL), in memory or in the controller's CMB.
#include <algorithm>
#include <cstring>

#include "fake/models/nvme/nvme.h"

namespace fake::nvme {
namespace {

// Section 4.4
struct Descriptor {
  uint64_t address;
  uint32_t length;
  std::array<uint8_t, 3> reserved;
  uint8_t identifier;
  unsigned type() const { return identifier >> 4; }
};
static_assert(sizeof(Descriptor) == 16);
constexpr unsigned kData = 0;
constexpr unsigned kSegment = 2;
constexpr unsigned kLastSegment = 3;
constexpr unsigned kMostSegments = 256;  // a list of segments need never end
constexpr uint32_t kMostDescriptors = 256;

}  // namespace

Status Nvme::Transfer(Access access, const Command& command, Bytes& data) {
  if (data.empty()) return kOk;
  if (command.pointer() == 0) return TransferPages(access, command, data);
  return command.pointer() == 3 ? kInvalidField : TransferList(access, command, data);
}

// Section 4.3: the first entry may start inside a page; the second is the next page, or a list of those that follow,
// whose last entry leads to more of it where there are more.
Status Nvme::TransferPages(Access access, const Command& command, Bytes& data) {
  const uint64_t page = PageSize();
  std::size_t moved = 0;
  const auto move = [&](uint64_t address) {
    const std::size_t size = std::min<uint64_t>(page - address % page, data.size() - moved);
    const bool done = Move(access, address, &data[moved], size);
    moved += size;
    return done;
  };
  // The list is read before data moves: a command with a bad list moves nothing.
  std::vector<uint64_t> pages;
  const std::size_t in_first = std::min<uint64_t>(page - command.prp1() % page, data.size());
  const std::size_t rest = data.size() - in_first;
  if (rest > 0 && rest <= page) {
    if (command.prp2() % page != 0) return kInvalidOffset;
    pages.push_back(command.prp2());
  }
  const std::size_t all = (rest + page - 1) / page;
  uint64_t next = command.prp2();
  while (pages.size() < all) {
    if (next % sizeof(uint64_t) != 0) return kInvalidOffset;
    const std::size_t in_list = (page - next % page) / sizeof(uint64_t);
    const std::size_t wanted = all - pages.size();
    std::vector<uint64_t> list(std::min(in_list, wanted));
    if (!Move(Access::kRead, next, list.data(), list.size() * sizeof(uint64_t))) return kTransferError;
    if (wanted > in_list) {
      next = list.back();
      list.pop_back();
      if (list.empty()) return kInvalidOffset;  // a list of lists need never end
    }
    for (const uint64_t entry : list) {
      if (entry % page != 0) return kInvalidOffset;
      pages.push_back(entry);
    }
  }
  if (!move(command.prp1())) return kTransferError;
  return std::ranges::all_of(pages, move) ? kOk : kTransferError;
}

Status Nvme::TransferList(Access access, const Command& command, Bytes& data) {
  std::size_t moved = 0;
  const auto move = [&](const Descriptor& descriptor) -> Status {
    const std::size_t size = std::min<std::size_t>(descriptor.length, data.size() - moved);
    if (size > 0 && !Move(access, descriptor.address, &data[moved], size)) return kTransferError;
    moved += size;
    return kOk;
  };
  Descriptor next = {};
  std::memcpy(&next, &command.words.at(6), sizeof(next));
  if (next.type() == kData) return next.length < data.size() ? kInvalidSglLength : move(next);
  if (next.type() > kLastSegment || next.type() < kSegment) return kInvalidSglSegment;
  for (unsigned segments = 0; segments < kMostSegments; ++segments) {
    if (next.length == 0 || next.length % sizeof(Descriptor) != 0) return kInvalidSglSegment;
    const std::size_t count = next.length / sizeof(Descriptor);
    if (count > kMostDescriptors) return kInvalidSglCount;
    std::vector<Descriptor> list(count);
    if (!Move(Access::kRead, next.address, list.data(), next.length)) return kTransferError;
    const bool is_last = next.type() == kLastSegment;
    for (std::size_t i = 0; i < count; ++i) {
      const unsigned type = list[i].type();
      if (type > kLastSegment || (type != kData && type < kSegment)) return kInvalidSglType;  // also a bit bucket
      if (type >= kSegment) {
        if (is_last || i + 1 < count) return kInvalidSglCount;
        break;
      }
      if (const Status bad = move(list[i]); bad != kOk) return bad;
    }
    if (list.back().type() < kSegment) return moved == data.size() ? kOk : kInvalidSglLength;
    next = list.back();
  }
  return kInvalidSglCount;
}

bool Nvme::Move(Access access, uint64_t address, void* bytes, std::size_t size) {
  constexpr uint64_t kCmbOn = kCmbRegisters | kCmbMemory;
  const uint64_t control = Long(kCmbControl);
  const uint64_t start = control & ~uint64_t{0xfff};
  const bool is_on = kind_.cmb && (control & kCmbOn) == kCmbOn && (Word(kCmbStatus) & kCmbAddressInvalid) == 0;
  if (is_on && address >= start && address - start < kCmbBytes && size <= kCmbBytes - (address - start)) {
    uint8_t* own = port_.Memory(kCmbBar) + (address - start);
    std::memcpy(access == Access::kRead ? bytes : own, access == Access::kRead ? own : bytes, size);
    return true;
  }
  return port_.Dma(access, address, bytes, size);
}

}  // namespace fake::nvme
