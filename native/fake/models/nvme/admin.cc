// Admin commands by opcode, and those that concern namespaces.
#include <algorithm>
#include <cstring>

#include "fake/models/nvme/nvme.h"

namespace fake::nvme {
namespace {

enum AdminOpcode : uint8_t {
  kDeleteSubmission = 0x00,
  kCreateSubmission = 0x01,
  kGetLogPage = 0x02,
  kDeleteCompletion = 0x04,
  kCreateCompletion = 0x05,
  kIdentify = 0x06,
  kAbort = 0x08,
  kSetFeatures = 0x09,
  kGetFeatures = 0x0a,
  kEventRequest = 0x0c,
  kNamespaceAttachment = 0x15,
  kVirtualizationManagement = 0x1c,
  kDoorbellBufferConfig = 0x7c,
  kFormatNvm = 0x80,
};
constexpr bool IsAdminCommand(uint8_t opcode) {
  constexpr std::array kKnown = {kDeleteSubmission,
                                 kCreateSubmission,
                                 kGetLogPage,
                                 kDeleteCompletion,
                                 kCreateCompletion,
                                 kIdentify,
                                 kAbort,
                                 kSetFeatures,
                                 kGetFeatures,
                                 kEventRequest,
                                 kNamespaceAttachment,
                                 kVirtualizationManagement,
                                 kDoorbellBufferConfig,
                                 kFormatNvm};
  return std::ranges::find(kKnown, opcode) != kKnown.end();
}

}  // namespace

Status Nvme::Admin(const Command& command) {
  if (!IsAdminCommand(command.opcode())) return kInvalidOpcode;
  if (command.pointer() != 0) return kInvalidField;  // no SGLs here
  if (command.is_fused()) return kFieldOfFused;
  switch (command.opcode()) {
    case kDeleteSubmission:
      return DeleteSubmission(command);
    case kCreateSubmission:
      return CreateSubmission(command);
    case kGetLogPage:
      return GetLog(command);
    case kDeleteCompletion:
      return DeleteCompletion(command);
    case kCreateCompletion:
      return CreateCompletion(command);
    case kIdentify:
      return Identify(command);
    case kAbort:
      return Abort(command);
    case kSetFeatures:
      return SetFeature(command);
    case kGetFeatures:
      return GetFeature(command);
    case kEventRequest:
      return RequestEvent(command);
    case kNamespaceAttachment:
      return Attach(command);
    case kDoorbellBufferConfig:
      return ConfigureShadows(command);
    case kFormatNvm:
      return Format(command);
    default:  // Virtualization Management: the fake's virtual functions have no resources of their own
      return kInvalidField;
  }
}

// No command waits long enough to be aborted.
Status Nvme::Abort(const Command& command) {
  result_ = 1;
  return submissions_.contains(command.queue()) ? kOk : kInvalidField;
}

Status Nvme::Attach(const Command& command) {
  constexpr uint8_t kNamespacesChanged = 0;
  constexpr uint16_t kThisController = 0;
  if (!IsNamespaceId(command.space())) return kInvalidNamespace;
  const auto found = namespaces_.find(command.space());
  if (kind_.virtual_functions == 0 || found == namespaces_.end()) return kInvalidField;
  Bytes data(4096);
  if (const Status bad = Transfer(Access::kRead, command, data); bad != kOk) return bad;
  std::array<uint16_t, 2048> list = {};
  std::memcpy(list.data(), data.data(), data.size());
  if (list[0] == 0) return kInvalidControllerList;
  const std::size_t count = std::min<std::size_t>(list[0], list.size() - 1);
  for (std::size_t i = 1; i <= count; ++i) {
    if (list.at(i) != kThisController) return kInvalidControllerList;
    const unsigned select = command.words[10] & 0xf;
    if (select > 1) return kInvalidField;
    bool& attached = found->second.attached;
    if (select == 0 && attached) return kAlreadyAttached;
    if (select == 1 && !attached) return kNotAttached;
    attached = !attached;
    if (changed_namespaces_.insert(command.space()).second)
      Report({kNoticeEvent, kNamespacesChanged, kChangedNamespacesLog});
  }
  return kOk;
}

Status Nvme::Format(const Command& command) {
  const unsigned format = command.words[10] & 0xf;
  const bool extended = (command.words[10] >> 4 & 1) != 0;
  const unsigned protection = command.words[10] >> 5 & 7;
  if (!IsNamespaceId(command.space())) return kInvalidNamespace;
  const bool is_every = command.space() == kEveryNamespace;
  if (!is_every && !Find(command.space())) return kInvalidField;
  // The fake checks no protection information.
  if (format >= kFormats.size() || protection != 0) return kInvalidFormat;
  for (auto& [id, each] : namespaces_) {
    if (each.attached && (is_every || id == command.space())) each.Format(format, extended);
  }
  return kOk;
}

}  // namespace fake::nvme
