// Commands, status codes and limits of the NVM Express base specification 1.4, with the limits of QEMU's drive.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <vector>

namespace fake::nvme {

constexpr uint32_t kMostQueues = 64;  // of each kind, without the admin queues
constexpr uint32_t kMostEntries = 2048;
constexpr uint32_t kMostNamespaces = 256;
constexpr uint32_t kVectors = 65;
constexpr uint32_t kEveryNamespace = 0xffffffff;
constexpr unsigned kMostEventRequests = 4;  // AERL + 1
constexpr std::size_t kMostEvents = 64;     // that wait for a request
constexpr unsigned kMostDataPages = 7;      // MDTS: 2^7 pages of the smallest size
constexpr uint64_t kMostData = 4096 << kMostDataPages;
constexpr uint32_t kTemperature = 0x143;  // kelvins

// Section 3.1: registers that several files use, and their bits.
constexpr uint64_t kInterruptMaskSet = 0x0c;
constexpr uint64_t kConfiguration = 0x14;
constexpr uint64_t kControllerStatus = 0x1c;
constexpr uint32_t kFatal = 1U << 1;
constexpr uint64_t kCmbControl = 0x50;
constexpr uint32_t kCmbRegisters = 1U << 0;
constexpr uint32_t kCmbMemory = 1U << 1;
constexpr uint64_t kCmbStatus = 0x58;
constexpr uint32_t kCmbAddressInvalid = 1U << 0;
constexpr unsigned kCmbBar = 2;
constexpr uint64_t kCmbBytes = 16U << 20;

// Section 4.6.1, without the phase: bits 0-7 code, 8-10 type, 14 do not retry.
using Status = uint16_t;
constexpr Status kDoNotRetry = 0x4000;
constexpr Status kOk = 0;
constexpr Status kFieldOfFused = 0x0002;
constexpr Status kInvalidOpcode = 0x0001 | kDoNotRetry;
constexpr Status kInvalidField = 0x0002 | kDoNotRetry;
constexpr Status kTransferError = 0x0004;
constexpr Status kInvalidNamespace = 0x000b | kDoNotRetry;
constexpr Status kSequenceError = 0x000c | kDoNotRetry;
constexpr Status kInvalidSglSegment = 0x000d | kDoNotRetry;
constexpr Status kInvalidSglCount = 0x000e | kDoNotRetry;
constexpr Status kInvalidSglLength = 0x000f | kDoNotRetry;
constexpr Status kInvalidSglType = 0x0011 | kDoNotRetry;
constexpr Status kInvalidOffset = 0x0013 | kDoNotRetry;
constexpr Status kInvalidCommandSets = 0x002b | kDoNotRetry;
constexpr Status kOutOfRange = 0x0080 | kDoNotRetry;
constexpr Status kInvalidCompletionQueue = 0x0100 | kDoNotRetry;
constexpr Status kInvalidQueue = 0x0101 | kDoNotRetry;
constexpr Status kInvalidQueueSize = 0x0102 | kDoNotRetry;
constexpr Status kTooManyEventRequests = 0x0105;
constexpr Status kInvalidVector = 0x0108 | kDoNotRetry;
constexpr Status kInvalidFormat = 0x010a | kDoNotRetry;
constexpr Status kInvalidDeletion = 0x010c;
constexpr Status kNotSaveable = 0x010d | kDoNotRetry;
constexpr Status kNotChangeable = 0x010e | kDoNotRetry;
constexpr Status kNotOfNamespace = 0x010f | kDoNotRetry;
constexpr Status kAlreadyAttached = 0x0118 | kDoNotRetry;
constexpr Status kNotAttached = 0x011a | kDoNotRetry;
constexpr Status kInvalidControllerList = 0x011c | kDoNotRetry;
constexpr Status kSizeLimit = 0x0183 | kDoNotRetry;
constexpr Status kCompareFailure = 0x0285;
constexpr Status kNoCompletion = 0xffff;  // an asynchronous event request waits

// Section 5.2: asynchronous events, their types and the logs that acknowledge them.
enum EventType : uint8_t { kErrorEvent = 0, kHealthEvent = 1, kNoticeEvent = 2 };
enum Log : uint8_t {
  kErrorLog = 1,
  kHealthLog = 2,
  kFirmwareLog = 3,
  kChangedNamespacesLog = 4,
  kEffectsLog = 5,
};

struct Command {
  std::array<uint32_t, 16> words;
  uint8_t opcode() const { return static_cast<uint8_t>(words[0]); }
  bool is_fused() const { return (words[0] >> 8 & 3) != 0; }
  // How the data pointer is to be understood (PSDT). 0: two PRP entries; 1 and 2: an SGL.
  unsigned pointer() const { return words[0] >> 14 & 3; }
  uint32_t id() const { return words[0] >> 16; }
  uint32_t space() const { return words[1]; }
  uint64_t metadata() const { return Long(4); }
  uint64_t prp1() const { return Long(6); }
  uint64_t prp2() const { return Long(8); }
  // Of a command that creates or deletes a queue.
  uint16_t queue() const { return static_cast<uint16_t>(words[10]); }
  uint32_t entries() const { return (words[10] >> 16) + 1; }
  // Of a command on blocks.
  uint64_t first_block() const { return Long(10); }
  uint32_t blocks() const { return (words[12] & 0xffff) + 1; }

  uint64_t Long(std::size_t word) const { return words.at(word) | uint64_t{words.at(word + 1)} << 32; }
};

// Writes a number into a structure, little-endian.
inline void Put(std::vector<uint8_t>& data, std::size_t at, uint64_t value, std::size_t size) {
  std::memcpy(&data.at(at), &value, size);
}

constexpr bool IsNamespaceId(uint32_t id) { return id == kEveryNamespace || (id > 0 && id <= kMostNamespaces); }

}  // namespace fake::nvme
