// Get Features and Set Features (sections 5.14 and 5.27).
#include <chrono>
#include <cstring>

#include "fake/models/nvme/nvme.h"

namespace fake::nvme {
namespace {

enum Feature : uint8_t {
  kArbitration = 0x01,
  kPowerManagement = 0x02,
  kTemperatureThreshold = 0x04,
  kErrorRecovery = 0x05,
  kWriteCache = 0x06,
  kNumberOfQueues = 0x07,
  kInterruptCoalescing = 0x08,
  kInterruptVectorConfiguration = 0x09,
  kWriteAtomicity = 0x0a,
  kEventConfiguration = 0x0b,
  kTimestamp = 0x0e,
  kHostBehavior = 0x16,
  kCommandSetProfile = 0x19,
};

constexpr uint32_t kOfNamespace = 1U << 1;
constexpr uint32_t kChangeable = 1U << 2;

// The capabilities of a feature; nullptr: there is no such feature.
const uint32_t* FindFeature(uint8_t id) {
  struct Entry {
    Feature feature;
    uint32_t capabilities;
  };
  static constexpr std::array kFeatures = {
      Entry{kArbitration, 0},
      Entry{kPowerManagement, 0},
      Entry{kTemperatureThreshold, kChangeable},
      Entry{kErrorRecovery, kChangeable | kOfNamespace},
      Entry{kWriteCache, kChangeable},
      Entry{kNumberOfQueues, kChangeable},
      Entry{kInterruptCoalescing, 0},
      Entry{kInterruptVectorConfiguration, 0},
      Entry{kWriteAtomicity, 0},
      Entry{kEventConfiguration, kChangeable},
      Entry{kTimestamp, kChangeable},
      Entry{kHostBehavior, kChangeable},
      Entry{kCommandSetProfile, kChangeable},
  };
  for (const Entry& entry : kFeatures) {
    if (entry.feature == id) return &entry.capabilities;
  }
  return nullptr;
}

enum Select : uint8_t { kCurrent = 0, kDefault = 1, kSaved = 2, kSupported = 3 };

constexpr uint32_t kNoBurstLimit = 7;
constexpr uint32_t kWarningTemperature = 0x157;

uint64_t Milliseconds() {
  using std::chrono::milliseconds;
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<uint64_t>(std::chrono::duration_cast<milliseconds>(now).count());
}

}  // namespace

Status Nvme::GetFeature(const Command& command) {
  const uint32_t* capabilities = FindFeature(static_cast<uint8_t>(command.words[10]));
  if (!capabilities) return kInvalidField;
  if ((*capabilities & kOfNamespace) != 0) {
    if (!IsNamespaceId(command.space()) || command.space() == kEveryNamespace) return kInvalidNamespace;
    if (!Find(command.space())) return kInvalidField;
  }
  switch (command.words[10] >> 8 & 7) {
    case kDefault:
    case kSaved:  // nothing can be saved
      return DefaultFeature(command);
    case kSupported:
      result_ = *capabilities;
      return kOk;
    default:
      return CurrentFeature(command);
  }
}

Status Nvme::CurrentFeature(const Command& command) {
  switch (command.words[10] & 0xff) {
    case kErrorRecovery:
      result_ = Find(command.space())->error_recovery;
      return kOk;
    case kWriteCache:
      for (const auto& [id, each] : namespaces_) result_ |= each.attached && each.write_cache ? 1 : 0;
      return kOk;
    case kEventConfiguration:
      result_ = event_configuration_;
      return kOk;
    case kTimestamp: {
      Bytes data(sizeof(uint64_t));
      constexpr uint64_t kMask = (uint64_t{1} << 48) - 1;
      const uint64_t value = ((timestamp_ + Milliseconds() - timestamp_set_at_) & kMask) | uint64_t{timestamp_origin_}
                                                                                               << 48;
      std::memcpy(data.data(), &value, sizeof(value));
      return Answer(command, data);
    }
    case kHostBehavior:
      return Answer(command, {host_behavior_.begin(), host_behavior_.end()});
    case kTemperatureThreshold:
      return Threshold(command.words[11]);
    default:
      return DefaultFeature(command);
  }
}

Status Nvme::DefaultFeature(const Command& command) {
  switch (command.words[10] & 0xff) {
    case kArbitration:
      result_ = kNoBurstLimit;
      return kOk;
    case kTemperatureThreshold: {
      constexpr uint32_t kSelection = 0x3f0000;  // the composite temperature, above
      if ((command.words[11] & kSelection) == 0) result_ = kWarningTemperature;
      return kOk;
    }
    case kNumberOfQueues:
      result_ = (kind_.queues - 1) << 16 | (kind_.queues - 1);
      return kOk;
    case kInterruptVectorConfiguration:
      return VectorConfiguration(command.words[11]);
    default:
      return kOk;
  }
}

Status Nvme::Threshold(uint32_t word) {
  if ((word >> 16 & 0xf) != 0) return kOk;  // there is no other sensor
  switch (word >> 20 & 3) {
    case 0:
      result_ = too_hot_;
      return kOk;
    case 1:
      result_ = too_cold_;
      return kOk;
    default:
      return kInvalidField;
  }
}

Status Nvme::VectorConfiguration(uint32_t word) {
  constexpr uint32_t kNotCoalesced = 1U << 16;
  const uint32_t vector = word & 0xffff;
  if (vector > kind_.queues) return kInvalidField;
  result_ = vector | (vector == 0 ? kNotCoalesced : 0);  // 0 is the admin queue's
  return kOk;
}

Status Nvme::SetFeature(const Command& command) {
  constexpr uint32_t kSave = 1U << 31;
  const uint32_t space = command.space();
  if ((command.words[10] & kSave) != 0) return kNotSaveable;
  const uint32_t* capabilities = FindFeature(static_cast<uint8_t>(command.words[10]));
  if (!capabilities) return kInvalidField;
  if ((*capabilities & kOfNamespace) != 0) {
    if (!IsNamespaceId(space)) return kInvalidNamespace;
    if (space != kEveryNamespace && !Find(space)) return kInvalidField;
  } else if (space != 0 && space != kEveryNamespace) {
    return IsNamespaceId(space) ? kNotOfNamespace : kInvalidNamespace;
  }
  if ((*capabilities & kChangeable) == 0) return kNotChangeable;
  const uint32_t value = command.words[11];
  switch (command.words[10] & 0xff) {
    case kTemperatureThreshold:
      return SetThreshold(value);
    case kErrorRecovery:
    case kWriteCache:
      return SetOfNamespace(command);
    case kNumberOfQueues:
      if (had_queues_) return kSequenceError;
      if ((value & 0xffff) == 0xffff || value >> 16 == 0xffff) return kInvalidField;
      return DefaultFeature(command);
    case kEventConfiguration:
      event_configuration_ = value;
      return kOk;
    case kTimestamp: {
      constexpr uint8_t kByHost = 1U << 1;
      Bytes data(sizeof(uint64_t));
      if (const Status bad = Transfer(Access::kRead, command, data); bad != kOk) return bad;
      timestamp_ = 0;
      std::memcpy(&timestamp_, data.data(), 6);
      timestamp_origin_ = kByHost;
      timestamp_set_at_ = Milliseconds();
      return kOk;
    }
    case kHostBehavior: {
      Bytes data(host_behavior_.size());
      if (const Status bad = Transfer(Access::kRead, command, data); bad != kOk) return bad;
      std::memcpy(host_behavior_.data(), data.data(), data.size());
      return kOk;
    }
    default:  // the profile of command sets
      return (value & 0x1ff) == 0 ? kOk : kInvalidCommandSets;
  }
}

Status Nvme::SetThreshold(uint32_t word) {
  if ((word >> 16 & 0xf) != 0) return kOk;
  switch (word >> 20 & 3) {
    case 0:
      too_hot_ = word & 0xffff;
      break;
    case 1:
      too_cold_ = word & 0xffff;
      break;
    default:
      return kInvalidField;
  }
  CheckTemperature();
  return kOk;
}

Status Nvme::SetOfNamespace(const Command& command) {
  const uint32_t value = command.words[11];
  const bool is_cache = (command.words[10] & 0xff) == kWriteCache;
  for (auto& [id, each] : namespaces_) {
    if (!each.attached) continue;
    if (is_cache) {
      each.write_cache = (value & 1) != 0;
    } else if (command.space() == kEveryNamespace || command.space() == id) {
      each.error_recovery = value;
    }
  }
  return kOk;
}

}  // namespace fake::nvme
