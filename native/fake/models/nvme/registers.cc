// The controller's registers (section 3.1), and its life: enabled, shut down, reset.
#include <cstring>

#include "fake/models/nvme/nvme.h"

namespace fake::nvme {
namespace {

enum Register : uint64_t {
  kCapabilities = 0x00,
  kVersion = 0x08,
  kInterruptMaskClear = 0x10,
  kAdminQueueAttributes = 0x24,
  kAdminSubmission = 0x28,
  kAdminCompletion = 0x30,
  kCmbLocation = 0x38,
  kCmbSize = 0x3c,
  kDoorbells = 0x1000,
};
constexpr uint32_t kEnable = 1U << 0;
constexpr uint32_t kShutdown = 3U << 14;
constexpr uint32_t kReady = 1U << 0;
constexpr uint32_t kShutdownStatus = 3U << 2;
constexpr uint32_t kShutdownComplete = 2U << 2;
constexpr uint32_t kCommandSets = 0xc1;  // CAP.CSS: NVM, all, and the admin commands only
constexpr uint32_t kLargestPage = 4;     // CAP.MPSMAX

}  // namespace

Nvme::Nvme(Kind kind, std::string serial, DmaPort& port, InterruptPort& interrupts)
    : kind_(std::move(kind)), serial_(std::move(serial)), port_(port), interrupt_port_(interrupts) {
  Word(kCapabilities) = 0x0f0107ff;
  Word(kCapabilities + 4) = kind_.cmb ? 0x02401820 : 0x00401820;
  Word(kVersion) = 0x00010400;
  if (kind_.cmb_at_once) EnableCmb();
  uint32_t id = 0;
  for (const uint64_t bytes : kind_.namespaces) namespaces_.emplace(++id, bytes);
}

uint64_t Nvme::PageSize() { return uint64_t{4096} << (Word(kConfiguration) >> 7 & 0xf); }

// Of 16 units of 1 MiB, for submission queues, lists and data.
void Nvme::EnableCmb() {
  Word(kCmbLocation) = 0x00000062;
  Word(kCmbSize) = 0x0001021d;
}

void Nvme::CheckCmbAddress() {
  const uint64_t start = Long(kCmbControl) & ~uint64_t{0xfff};
  Word(kCmbStatus) = start + kCmbBytes < start ? kCmbAddressInvalid : 0;
}

void Nvme::Reset() {
  ++life_;
  submissions_.clear();
  completions_.clear();
  shadows_ = {};
  had_queues_ = false;
  event_requests_.clear();
  events_.clear();
  masked_events_.clear();
  changed_namespaces_.clear();
  for (const auto offset : {kInterruptMaskSet, uint64_t{kInterruptMaskClear}, kConfiguration, kControllerStatus})
    Word(offset) = 0;
  UpdateIntx();
}

uint64_t Nvme::Read(unsigned bar, uint64_t offset, unsigned width) {
  if (bar != 0 || offset + width > sizeof(words_)) return 0;
  uint64_t value = 0;
  std::memcpy(&value, reinterpret_cast<const uint8_t*>(words_.data()) + offset, width);
  return value;
}

void Nvme::Write(unsigned bar, uint64_t offset, unsigned width, uint64_t value) {
  if (bar != 0 || offset % 4 != 0 || width < 4) return;
  const auto low = static_cast<uint32_t>(value);
  if (offset >= kDoorbells) {
    Ring((offset - kDoorbells) / 4, low);
    return;
  }
  // The upper half first: a write to the lower half acts.
  if (width == 8) WriteWord(offset + 4, static_cast<uint32_t>(value >> 32));
  WriteWord(offset, low);
}

void Nvme::WriteWord(uint64_t offset, uint32_t value) {
  switch (offset) {
    case kInterruptMaskSet:
    case kInterruptMaskClear: {
      if (interrupt_port_.MsixEnabled()) break;
      const uint32_t masked = Word(kInterruptMaskSet);
      Word(kInterruptMaskSet) = offset == kInterruptMaskSet ? masked | value : masked & ~value;
      Word(kInterruptMaskClear) = Word(kInterruptMaskSet);
      UpdateIntx();
      break;
    }
    case kConfiguration:
      Configure(value);
      break;
    case kAdminQueueAttributes:
    case kAdminSubmission:
    case kAdminCompletion:
    case kAdminSubmission + 4:
    case kAdminCompletion + 4:
      Word(offset) = value;
      break;
    case kCmbControl:
      if (!kind_.cmb) break;
      Word(offset) = value;
      if ((value & kCmbRegisters) == 0) {
        Word(kCmbLocation) = Word(kCmbSize) = 0;
        break;
      }
      EnableCmb();
      if ((value & kCmbMemory) != 0) CheckCmbAddress();
      break;
    case kCmbControl + 4:
      if (kind_.cmb) Word(offset) = value;
      break;
    default:
      break;
  }
}

void Nvme::Configure(uint32_t value) {
  const uint32_t old = Word(kConfiguration);
  const bool was_enabled = (old & kEnable) != 0;
  Word(kConfiguration) = value;
  if ((value & kShutdown) == 0) {
    Word(kControllerStatus) &= ~kShutdownStatus;
  } else if ((old & kShutdown) == 0) {
    Word(kControllerStatus) = (Word(kControllerStatus) & ~kShutdownStatus) | kShutdownComplete;
  }
  if ((value & kEnable) != 0 && !was_enabled) {
    Word(kControllerStatus) = Enable() ? kReady : kFatal;
  } else if ((value & kEnable) == 0 && was_enabled) {
    const uint32_t shutdown = Word(kControllerStatus) & kShutdownStatus;
    Reset();
    Word(kConfiguration) = value;
    Word(kControllerStatus) = shutdown;
  }
}

bool Nvme::CanEnable() {
  const uint32_t configuration = Word(kConfiguration);
  const uint64_t submission = Long(kAdminSubmission);
  const uint64_t completion = Long(kAdminCompletion);
  const uint32_t sizes = Word(kAdminQueueAttributes);
  const auto field = [&](unsigned shift) { return configuration >> shift & 0xf; };
  if ((configuration >> 7 & 0xf) > kLargestPage) return false;
  if ((kCommandSets >> (configuration >> 4 & 7) & 1) == 0) return false;
  if (field(16) != 6 || field(20) != 4) return false;  // entries of 2^6 and 2^4 bytes
  if (submission % PageSize() != 0 || completion % PageSize() != 0) return false;
  return (sizes & 0xfff) != 0 && (sizes >> 16 & 0xfff) != 0;
}

bool Nvme::Enable() {
  if (!CanEnable()) return false;
  const uint32_t sizes = Word(kAdminQueueAttributes);
  completions_[0] = {
      .address = Long(kAdminCompletion), .entries = (sizes >> 16 & 0xfff) + 1, .interrupts = true, .vector = 0};
  submissions_[0] = {.address = Long(kAdminSubmission), .entries = (sizes & 0xfff) + 1, .completion = 0};
  return true;
}

}  // namespace fake::nvme
