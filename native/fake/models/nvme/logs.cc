// Get Log Page (section 5.14).
#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <string_view>

#include "fake/models/nvme/nvme.h"

namespace fake::nvme {
namespace {

constexpr uint8_t kNoEvents = 0xff;

constexpr uint64_t kUnit = 512'000;  // bytes

}  // namespace

Status Nvme::GetLog(const Command& command) {
  const auto log = static_cast<Log>(command.words[10] & 0xff);
  const bool keeps_event = (command.words[10] >> 15 & 1) != 0;
  const uint64_t dwords = (uint64_t{command.words[11]} & 0xffff) << 16 | command.words[10] >> 16;
  const uint64_t size = (dwords + 1) * 4;
  const uint64_t offset = command.Long(12);
  if (offset % 4 != 0 || size > kMostData) return kInvalidField;
  Bytes data;
  uint8_t event = kNoEvents;  // the type that the log acknowledges
  switch (log) {
    case kErrorLog:
      data.resize(64);  // the one entry is never used
      event = kErrorEvent;
      break;
    case kHealthLog: {
      constexpr std::size_t kBytes = 512;
      if (offset >= kBytes) return kInvalidField;
      if (command.space() != kEveryNamespace && !Find(command.space())) return kInvalidNamespace;
      data = Health();
      event = kHealthEvent;
      break;
    }
    case kFirmwareLog: {
      constexpr std::string_view kRevision = "1.0     ";
      data.resize(512);
      data[0] = 1;  // the slot that is active
      std::memcpy(&data[8], kRevision.data(), kRevision.size());
      break;
    }
    case kChangedNamespacesLog: {
      data.resize(4096);
      std::size_t at = 0;
      for (const uint32_t id : changed_namespaces_) {
        Put(data, at, id, 4);
        at += 4;
      }
      event = kNoticeEvent;
      break;
    }
    case kEffectsLog:
      data = Effects(static_cast<uint8_t>(command.words[14] >> 24));
      break;
    default:
      return kInvalidField;
  }
  if (offset >= data.size()) return kInvalidField;
  if (log == kChangedNamespacesLog) changed_namespaces_.clear();
  if (event != kNoEvents && !keeps_event) ClearEvents(event);
  data.erase(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(offset));
  data.resize(std::min<uint64_t>(data.size(), size));
  return Answer(command, data);
}

Nvme::Bytes Nvme::Health() {
  constexpr uint8_t kTemperatureWarning = 1U << 1;
  Bytes data(512);
  if (kTemperature >= too_hot_ || kTemperature <= too_cold_) data[0] = kTemperatureWarning;
  Put(data, 1, kTemperature, 2);
  Put(data, 32, (statistics_.read + kUnit - 1) / kUnit, 8);
  Put(data, 48, (statistics_.written + kUnit - 1) / kUnit, 8);
  Put(data, 64, statistics_.reads, 8);
  Put(data, 80, statistics_.writes, 8);
  return data;
}

Nvme::Bytes Nvme::Effects(uint8_t command_set) {
  constexpr uint32_t kSupported = 1U << 0;
  constexpr uint32_t kChangesBlocks = kSupported | 1U << 1;
  constexpr uint32_t kChangesInventory = kSupported | 1U << 3;
  constexpr uint32_t kEveryCommandSet = 6;  // CC.CSS
  Bytes data(4096);
  const auto put = [&data](std::initializer_list<std::size_t> opcodes, std::size_t table, uint32_t effects) {
    for (const std::size_t opcode : opcodes) Put(data, table + 4 * opcode, effects, 4);
  };
  constexpr std::size_t kAdmin = 0;
  constexpr std::size_t kIo = 1024;
  put({0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x08, 0x09, 0x0a, 0x0c, 0x1c, 0x7c}, kAdmin, kSupported);
  put({0x15}, kAdmin, kChangesInventory);
  put({0x80}, kAdmin, kChangesBlocks);
  if ((Word(kConfiguration) >> 4 & 7) == kEveryCommandSet && command_set != 0) return data;
  put({0x00, 0x01, 0x08, 0x09, 0x19}, kIo, kChangesBlocks);
  put({0x02, 0x05, 0x0c}, kIo, kSupported);
  return data;
}

}  // namespace fake::nvme
