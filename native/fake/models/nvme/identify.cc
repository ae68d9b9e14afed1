// Identify (section 5.15).
#include <algorithm>
#include <cstring>
#include <string_view>

#include "fake/models/nvme/nvme.h"

namespace fake::nvme {
namespace {

constexpr std::size_t kBytes = 4096;
constexpr uint8_t kNvmCommandSet = 0;
constexpr uint8_t kZonedCommandSet = 2;

void PutText(std::vector<uint8_t>& data, std::size_t at, std::size_t size, std::string_view value) {
  std::memset(&data.at(at), ' ', size);
  std::memcpy(&data.at(at), value.data(), std::min(size, value.size()));
}

}  // namespace

Status Nvme::Identify(const Command& command) {
  enum Structure : uint8_t {
    kNamespace = 0x00,
    kController = 0x01,
    kActiveNamespaces = 0x02,
    kDescriptors = 0x03,
    kNamespaceOfSet = 0x05,
    kControllerOfSet = 0x06,
    kActiveNamespacesOfSet = 0x07,
    kAllocatedNamespaces = 0x10,
    kAllocatedNamespace = 0x11,
    kControllersOfNamespace = 0x12,
    kControllers = 0x13,
    kPrimary = 0x14,
    kSecondaries = 0x15,
    kAllocatedNamespacesOfSet = 0x1a,
    kAllocatedNamespaceOfSet = 0x1b,
    kCommandSets = 0x1c,
  };
  const auto structure = static_cast<Structure>(command.words[10] & 0xff);
  const auto set = static_cast<uint8_t>(command.words[11] >> 24);
  const uint32_t id = command.space();
  const bool is_one = IsNamespaceId(id) && id != kEveryNamespace;
  const auto found = namespaces_.find(id);
  const Namespace* allocated = found == namespaces_.end() ? nullptr : &found->second;
  const Namespace* active = Find(id);
  Bytes data(kBytes);
  switch (structure) {
    case kNamespace:
    case kAllocatedNamespace: {
      if (!is_one) return kInvalidNamespace;
      const Namespace* space = structure == kNamespace ? active : allocated;
      return Answer(command, space ? AboutNamespace(*space) : data);
    }
    case kController:
      return Answer(command, AboutController());
    case kActiveNamespaces:
      return ListNamespaces(command, true);
    case kAllocatedNamespaces:
      return ListNamespaces(command, false);
    case kActiveNamespacesOfSet:
    case kAllocatedNamespacesOfSet:
      if (id >= kEveryNamespace - 1) return kInvalidNamespace;
      if (set != kNvmCommandSet && set != kZonedCommandSet) return kInvalidField;
      if (set == kZonedCommandSet) return Answer(command, data);
      return ListNamespaces(command, structure == kActiveNamespacesOfSet);
    case kDescriptors: {
      if (!is_one) return kInvalidNamespace;
      if (!active) return kInvalidField;
      constexpr uint8_t kCommandSetType = 4;
      data[0] = kCommandSetType;
      data[1] = 1;
      return Answer(command, data);
    }
    case kNamespaceOfSet:
    case kAllocatedNamespaceOfSet:
      if (!is_one) return kInvalidNamespace;
      if (set != kNvmCommandSet && (structure == kNamespaceOfSet ? active : allocated)) return kInvalidField;
      return Answer(command, data);
    case kControllerOfSet:
      if (set != kNvmCommandSet && set != kZonedCommandSet) return kInvalidField;
      if (set == kNvmCommandSet) {
        data[0] = kMostDataPages;  // of a Verify command
        // DMRSL: what a Dataset Management command may deallocate, in blocks. QEMU keeps it when it formats.
        if (!namespaces_.empty()) Put(data, 4, 0x003fffff, 4);
      }
      return Answer(command, data);
    case kControllersOfNamespace:
    case kControllers:
      return ListControllers(command);
    case kPrimary:
      return Answer(command, AboutPrimary());
    case kSecondaries:
      return Answer(command, AboutSecondaries(static_cast<uint16_t>(command.words[10] >> 16)));
    case kCommandSets:
      data[0] = 1U << kNvmCommandSet | 1U << kZonedCommandSet;
      return Answer(command, data);
    default:
      return kInvalidField;
  }
}

Nvme::Bytes Nvme::AboutController() const {
  Bytes data(kBytes);
  Put(data, 0, 0x1af41b36, 4);  // VID and SSVID
  PutText(data, 4, 20, serial_);
  PutText(data, 24, 40, "vfio-dmabuf fake NVMe");
  PutText(data, 64, 8, "1");
  data[72] = 6;                                          // RAB
  Put(data, 73, 0x525400, 3);                            // IEEE
  data[76] = kind_.virtual_functions > 0 ? 1U << 1 : 0;  // CMIC: several controllers
  data[77] = kMostDataPages;                             // MDTS
  Put(data, 80, 0x00010400, 4);                          // VER
  Put(data, 92, 1U << 8, 4);                             // OAES: changed namespaces
  Put(data, 96, 1U << 15, 4);                            // CTRATT: extended block formats
  data[111] = 1;                                         // CNTRLTYPE: I/O
  Put(data, 256, 0x010a, 2);                             // OACS: format, namespaces, doorbell buffers
  data[258] = 3;                                         // ACL
  data[259] = kMostEventRequests - 1;                    // AERL
  data[260] = 3;                                         // FRMW: one slot, read-only
  data[261] = 7;                                         // LPA: SMART by namespace, effects, extended data
  Put(data, 266, 0x157, 2);                              // WCTEMP
  Put(data, 268, 0x175, 2);                              // CCTEMP
  Put(data, 512, 0x4466, 2);                             // SQES and CQES: 2^6 and 2^4 bytes
  Put(data, 516, kMostNamespaces, 4);                    // NN
  Put(data, 520, 0x015d, 2);                             // ONCS
  data[525] = 7;                                         // VWC: there is one; flushes all namespaces
  Put(data, 534, 3, 2);                                  // OCFS
  Put(data, 536, 1, 4);                                  // SGLS
  const std::string name = "nqn.2019-08.vfio-dmabuf:" + serial_;
  std::memcpy(&data[768], name.data(), std::min<std::size_t>(name.size(), 256));
  Put(data, 2048, 0x09c4, 2);  // PSD0: 25 W, and its latencies
  Put(data, 2052, 0x10, 4);
  Put(data, 2056, 4, 4);
  return data;
}

Nvme::Bytes Nvme::AboutNamespace(const Namespace& space) {
  Bytes data(kBytes);
  for (const std::size_t at : {0U, 8U, 16U}) Put(data, at, space.blocks(), 8);
  data[24] = 0x14;  // NSFEAT: deallocated blocks give errors on request; the granularities below
  data[25] = kFormats.size() - 1;
  data[26] = static_cast<uint8_t>(space.format() | (space.extended() ? 1U << 4 : 0));
  data[27] = 3;     // MC
  data[28] = 0x1f;  // DPC
  data[33] = 1;     // DLFEAT: deallocated blocks read as zeroes
  // NPDG and NPDA: 64 KiB
  for (const std::size_t at : {68U, 70U}) Put(data, at, 0x10000 / space.block_bytes() - 1, 2);
  Put(data, 74, space.copy.blocks_of_range, 2);
  Put(data, 76, space.copy.blocks, 4);
  data[80] = space.copy.ranges;
  for (std::size_t i = 0; i < kFormats.size(); ++i) {
    Put(data, 128 + 4 * i, kFormats.at(i).metadata | uint64_t{kFormats.at(i).shift} << 16, 4);
  }
  return data;
}

// Queues and vectors that the physical function has, and those that virtual functions share.
Nvme::Bytes Nvme::AboutPrimary() const {
  Bytes data(kBytes);
  data[4] = 3;  // CRT: queues and vectors
  const bool shares = kind_.virtual_functions > 0;
  const auto put = [&](std::size_t at, uint32_t flexible, uint32_t own, uint32_t of_each) {
    Put(data, at, flexible, 4);
    Put(data, at + 10, own, 2);
    Put(data, at + 12, of_each, 2);
    Put(data, at + 14, 1, 2);
  };
  const uint16_t virtual_functions = kind_.virtual_functions;
  put(32, shares ? 2U * virtual_functions : 0, kind_.queues + 1, shares ? 2 : 0);
  put(64, shares ? virtual_functions : 0, kind_.vectors, shares ? 1 : 0);
  return data;
}

// The virtual functions' controllers, from an identifier on. They are offline.
Nvme::Bytes Nvme::AboutSecondaries(uint16_t first) const {
  Bytes data(kBytes);
  for (uint16_t i = 1; i <= kind_.virtual_functions; ++i) {
    if (i < first) continue;
    const std::size_t at = std::size_t{32} * (data[0] + 1U);
    ++data[0];
    Put(data, at, i, 2);
    Put(data, at + 8, i, 2);
  }
  return data;
}

Status Nvme::ListNamespaces(const Command& command, bool attached) {
  if (command.space() >= kEveryNamespace - 1) return kInvalidNamespace;
  Bytes data(kBytes);
  std::size_t at = 0;
  for (const auto& [id, each] : namespaces_) {
    if (id <= command.space() || (attached && !each.attached) || at == kBytes) continue;
    Put(data, at, id, 4);
    at += 4;
  }
  return Answer(command, data);
}

// The controllers of the subsystem, or those that a namespace is attached to: number 0 or none.
Status Nvme::ListControllers(const Command& command) {
  constexpr uint8_t kOfNamespace = 0x12;
  if (kind_.virtual_functions == 0) return kInvalidField;
  Bytes data(kBytes);
  bool has_this = command.words[10] >> 16 == 0;
  if ((command.words[10] & 0xff) == kOfNamespace) {
    const auto found = namespaces_.find(command.space());
    if (found == namespaces_.end()) return kInvalidField;
    has_this = has_this && found->second.attached;
  }
  if (has_this) data[0] = 1;
  return Answer(command, data);
}

}  // namespace fake::nvme
