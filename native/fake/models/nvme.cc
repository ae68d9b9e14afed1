// The registers, queues and commands of an NVMe controller.
#include "fake/models/nvme.h"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace fake {
namespace {

// Section 3.1
enum Register : uint64_t {
  kCapabilities = 0x00,
  kVersion = 0x08,
  kConfiguration = 0x14,
  kStatus = 0x1c,
  kAdminQueueAttributes = 0x24,
  kAdminSubmission = 0x28,
  kAdminCompletion = 0x30,
  kCmbLocation = 0x38,
  kCmbSize = 0x3c,
  kCmbControl = 0x50,
  kCmbStatus = 0x58,
  kDoorbells = 0x1000,
};
constexpr uint32_t kEnable = 1U << 0;
constexpr uint32_t kShutdown = 3U << 14;
constexpr uint32_t kReady = 1U << 0;
constexpr uint32_t kFatal = 1U << 1;
constexpr uint32_t kShutdownComplete = 2U << 2;
constexpr uint32_t kCmbRegisters = 1U << 0;
constexpr uint32_t kCmbMemory = 1U << 1;
constexpr uint32_t kAddressInvalid = 1U << 0;
constexpr unsigned kCmbBar = 2;
constexpr uint64_t kCmbBytes = 16U << 20;

constexpr unsigned kBlock = 512;
constexpr uint32_t kMostQueues = 64;
constexpr uint32_t kMostEntries = 2048;
constexpr uint64_t kMostData = 512U << 10;  // MDTS: 2^7 pages

// Sections 4.6.1 and 5, each with "do not retry"
constexpr uint16_t kOk = 0;
constexpr uint16_t kInvalidOpcode = 0x4001;
constexpr uint16_t kInvalidField = 0x4002;
constexpr uint16_t kTransferError = 0x0004;
constexpr uint16_t kInvalidNamespace = 0x400b;
constexpr uint16_t kInvalidOffset = 0x4013;
constexpr uint16_t kOutOfRange = 0x4080;
constexpr uint16_t kInvalidCompletionQueue = 0x4100;
constexpr uint16_t kInvalidQueue = 0x4101;
constexpr uint16_t kInvalidQueueSize = 0x4102;
constexpr uint16_t kInvalidDeletion = 0x410c;
constexpr uint16_t kNoCompletion = 0xffff;  // an asynchronous event request waits

// Limits the commands that one doorbell write starts. Drives can ring each other's doorbells endlessly, so all drives
// together execute at most so many commands; the rest waits for the next write.
class Turn {
 public:
  Turn() {
    if (drives++ == 0) commands = 2 * kMostEntries;
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;
  ~Turn() { --drives; }

  static bool Take() {
    if (commands == 0) return false;
    --commands;
    return true;
  }

 private:
  static thread_local unsigned drives;  // that execute commands
  static thread_local unsigned commands;
};
thread_local unsigned Turn::drives = 0;
thread_local unsigned Turn::commands = 0;

}  // namespace

Nvme::Nvme(const Kind& kind, DmaPort& port, InterruptPort& interrupts)
    : kind_(kind), port_(port), interrupt_port_(interrupts) {
  Word(kCapabilities) = 0x0f0107ff;
  Word(kCapabilities + 4) = kind.cmb ? 0x02401820 : 0x00401820;
  Word(kVersion) = 0x00010400;
  if (kind.cmb_at_once) EnableCmb();
}

// Of 16 units of 1 MiB, for submission queues, lists and data.
void Nvme::EnableCmb() {
  Word(kCmbLocation) = 0x00000062;
  Word(kCmbSize) = 0x0001021d;
}

void Nvme::CheckCmbAddress() {
  const uint64_t start = Long(kCmbControl) & ~uint64_t{0xfff};
  Word(kCmbStatus) = start + kCmbBytes < start ? kAddressInvalid : 0;
}

void Nvme::Reset() {
  ++life_;
  submissions_.clear();
  completions_.clear();
  Word(kConfiguration) = 0;
  Word(kStatus) = 0;
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
    case kConfiguration:
      Configure(value);
      break;
    case kAdminQueueAttributes:
      Word(offset) = value & 0x0fff0fff;
      break;
    case kAdminSubmission:
    case kAdminCompletion:
      Word(offset) = value & ~0xfffU;
      break;
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
  const bool was_enabled = (Word(kConfiguration) & kEnable) != 0;
  if ((value & kEnable) == 0 && was_enabled) Reset();
  Word(kConfiguration) = value & 0x00fffff1;
  if ((value & kEnable) != 0 && !was_enabled) Word(kStatus) = Enable() ? kReady : kFatal;
  if ((value & kShutdown) != 0) Word(kStatus) |= kShutdownComplete;
}

bool Nvme::Enable() {
  const uint64_t submission = Long(kAdminSubmission);
  const uint64_t completion = Long(kAdminCompletion);
  const uint32_t sizes = Word(kAdminQueueAttributes);
  const uint32_t entries = (sizes & 0xfff) + 1;
  const uint32_t completion_entries = (sizes >> 16) + 1;
  if (submission % PageSize() != 0 || completion % PageSize() != 0 || entries < 2 || completion_entries < 2)
    return false;
  if ((Word(kConfiguration) >> 7 & 0xf) > 4) return false;  // MPSMAX
  completions_[0] = {.address = completion, .entries = completion_entries, .interrupts = true, .vector = 0};
  submissions_[0] = {.address = submission, .entries = entries, .completion = 0};
  return true;
}

void Nvme::Ring(uint64_t doorbell, uint32_t value) {
  const auto queue = static_cast<uint16_t>(doorbell / 2);
  const bool is_completion = doorbell % 2 != 0;
  if (is_completion) {
    // The new head. A completion queue is as large as its submission queues, so no command waits for it.
    if (completions_.contains(queue) && !interrupt_port_.MsixEnabled()) interrupt_port_.SetIntx(false);
    return;
  }
  const auto found = submissions_.find(queue);
  if (found == submissions_.end() || value >= found->second.entries) return;
  found->second.tail = value;
  if (!running_) Execute(queue);
}

void Nvme::Execute(uint16_t queue) {
  running_ = true;
  const Turn turn;
  // Only the commands that are queued now: they may ring this doorbell again, endlessly, and may delete this queue.
  const Submission& rung = submissions_.at(queue);
  const uint64_t life = life_;
  for (uint32_t left = (rung.tail + rung.entries - rung.head) % rung.entries; left > 0 && Turn::Take(); --left) {
    const auto found = submissions_.find(queue);
    if (found == submissions_.end() || life_ != life) break;
    Submission& submission = found->second;
    Command command = {};
    if (!Move(Access::kRead, submission.address + uint64_t{submission.head} * sizeof(command), &command.words,
              sizeof(command))) {
      Word(kStatus) |= kFatal;
      break;
    }
    submission.head = (submission.head + 1) % submission.entries;
    const Submission rung_from = submission;
    result_ = 0;
    const Status status = queue == 0 ? Admin(command) : Io(command);
    if (life_ != life) break;  // the command reset the controller
    if (status != kNoCompletion) Complete(queue, rung_from, command.id(), status);
  }
  running_ = false;
}

void Nvme::Complete(uint16_t queue, const Submission& submission, uint32_t id, Status status) {
  const auto found = completions_.find(submission.completion);
  if (found == completions_.end()) return;
  Completion& next = found->second;
  // The write may reach the controller's own registers and delete the queue.
  const Completion completion = next;
  next.tail = (next.tail + 1) % next.entries;
  if (next.tail == 0) next.phase = !next.phase;
  const uint32_t phase = completion.phase ? 1U << 16 : 0;
  std::array<uint32_t, 4> entry = {result_, 0, submission.head | uint32_t{queue} << 16,
                                   id | phase | uint32_t{status} << 17};
  Move(Access::kWrite, completion.address + uint64_t{completion.tail} * sizeof(entry), entry.data(), sizeof(entry));
  if (!completion.interrupts) return;
  if (interrupt_port_.MsixEnabled()) {
    interrupt_port_.SendMsi(completion.vector);
  } else {
    interrupt_port_.SetIntx(true);
  }
}

Nvme::Status Nvme::Admin(const Command& command) {
  switch (command.opcode()) {
    case 0x00:
      return Delete(command, true);
    case 0x01:
      return CreateSubmission(command);
    case 0x04:
      return Delete(command, false);
    case 0x05:
      return CreateCompletion(command);
    case 0x06:
      return Identify(command);
    case 0x09:
    case 0x0a:
      return Features(command);
    case 0x0c:
      return kNoCompletion;
    default:
      return kInvalidOpcode;
  }
}

// Of a command that creates a queue.
Nvme::Status Nvme::CheckQueue(const Command& command, bool exists) {
  if (command.queue() == 0 || command.queue() > kMostQueues || exists) return kInvalidQueue;
  if (command.entries() < 2 || command.entries() > kMostEntries) return kInvalidQueueSize;
  if (command.prp1() % PageSize() != 0) return kInvalidOffset;
  return (command.words[11] & 1) == 0 ? kInvalidField : kOk;  // not contiguous
}

Nvme::Status Nvme::CreateCompletion(const Command& command) {
  const auto& words = command.words;
  const uint16_t id = command.queue();
  if (const Status bad = CheckQueue(command, completions_.contains(id)); bad != kOk) return bad;
  completions_[id] = {.address = command.prp1(),
                      .entries = command.entries(),
                      .interrupts = (words[11] & 2) != 0,
                      .vector = static_cast<uint16_t>(words[11] >> 16)};
  return kOk;
}

Nvme::Status Nvme::CreateSubmission(const Command& command) {
  const auto& words = command.words;
  const uint16_t id = command.queue();
  const auto completion = static_cast<uint16_t>(words[11] >> 16);
  if (completion == 0 || !completions_.contains(completion)) return kInvalidCompletionQueue;
  if (const Status bad = CheckQueue(command, submissions_.contains(id)); bad != kOk) return bad;
  submissions_[id] = {.address = command.prp1(), .entries = command.entries(), .completion = completion};
  return kOk;
}

Nvme::Status Nvme::Delete(const Command& command, bool submission) {
  const uint16_t id = command.queue();
  if (id == 0) return kInvalidQueue;
  if (submission) return submissions_.erase(id) > 0 ? kOk : kInvalidQueue;
  const bool used = std::ranges::any_of(submissions_, [&](const auto& each) { return each.second.completion == id; });
  if (used) return kInvalidDeletion;
  return completions_.erase(id) > 0 ? kOk : kInvalidQueue;
}

Nvme::Status Nvme::Identify(const Command& command) {
  std::vector<uint8_t> data(4096);
  const auto put = [&](std::size_t at, uint64_t value, std::size_t size) { std::memcpy(&data.at(at), &value, size); };
  const auto text = [&](std::size_t at, std::size_t size, std::string_view value) {
    std::memset(&data.at(at), ' ', size);
    std::memcpy(&data.at(at), value.data(), value.size());
  };
  switch (command.words[10] & 0xff) {
    case 0:  // a namespace
      if (command.words[1] != 1 || kind_.blocks == 0) return kInvalidNamespace;
      for (const std::size_t at : {0U, 8U, 16U}) put(at, kind_.blocks, 8);
      put(128, 9U << 16, 4);  // its first format: blocks of 2^9 bytes
      break;
    case 1:  // the controller
      put(0, 0x11001b36, 4);
      text(4, 20, "fake");
      text(24, 40, "vfio-dmabuf fake NVMe");
      text(64, 8, "1");
      put(77, 7, 1);
      put(80, 0x00010400, 4);
      put(512, 0x4466, 2);  // entries of 2^6 and 2^4 bytes
      put(516, 1, 4);
      break;
    case 2:  // the namespaces that are active
      if (kind_.blocks > 0 && command.words[1] == 0) put(0, 1, 4);
      break;
    default:
      return kInvalidField;
  }
  return Transfer(Access::kWrite, command, data);
}

Nvme::Status Nvme::Features(const Command& command) {
  constexpr uint32_t kNumberOfQueues = 7;
  if ((command.words[10] & 0xff) != kNumberOfQueues) return kInvalidField;
  result_ = (kMostQueues - 1) << 16 | (kMostQueues - 1);
  return kOk;
}

Nvme::Status Nvme::Io(const Command& command) {
  const bool read = command.opcode() == 2;
  if (kind_.blocks == 0 || command.words[1] != 1) return kInvalidNamespace;
  if (command.opcode() == 0) return kOk;  // flush
  if (command.opcode() > 2) return kInvalidOpcode;
  const uint64_t first = command.words[10] | uint64_t{command.words[11]} << 32;
  const uint64_t count = (command.words[12] & 0xffff) + 1;
  if (count * kBlock > kMostData) return kInvalidField;
  if (first >= kind_.blocks || count > kind_.blocks - first) return kOutOfRange;
  std::vector<uint8_t> data(count * kBlock);
  if (read) {
    for (uint64_t i = 0; i < count; ++i) {
      const auto found = blocks_.find(first + i);
      if (found != blocks_.end()) std::ranges::copy(found->second, &data[i * kBlock]);
    }
    return Transfer(Access::kWrite, command, data);
  }
  const Status status = Transfer(Access::kRead, command, data);
  if (status != kOk) return status;
  for (uint64_t i = 0; i < count; ++i) std::memcpy(blocks_[first + i].data(), &data[i * kBlock], kBlock);
  return kOk;
}

// Section 4.3: the first entry may start inside a page; the second is the next page, or a list of those that follow,
// whose last entry leads to more of it where there are more.
Nvme::Status Nvme::Transfer(Access access, const Command& command, std::vector<uint8_t>& data) {
  const uint64_t page = PageSize();
  std::size_t moved = 0;
  const auto move = [&](uint64_t address) {
    const std::size_t size = std::min<uint64_t>(page - address % page, data.size() - moved);
    const bool done = Move(access, address, &data[moved], size);
    moved += size;
    return done;
  };
  if (!move(command.prp1())) return kTransferError;
  if (moved == data.size()) return kOk;
  uint64_t next = command.prp2();
  if (data.size() - moved <= page) {
    if (next % page != 0) return kInvalidOffset;
    return move(next) ? kOk : kTransferError;
  }
  while (moved < data.size()) {
    if (next % sizeof(uint64_t) != 0) return kInvalidOffset;
    const std::size_t in_list = (page - next % page) / sizeof(uint64_t);
    const std::size_t wanted = (data.size() - moved + page - 1) / page;
    std::vector<uint64_t> list(std::min(in_list, wanted));
    if (!Move(Access::kRead, next, list.data(), list.size() * sizeof(uint64_t))) return kTransferError;
    const bool goes_on = wanted > in_list;
    if (goes_on) {
      next = list.back();
      list.pop_back();
      if (list.empty()) return kInvalidOffset;  // a list of lists need never end
    }
    for (const uint64_t entry : list) {
      if (entry % page != 0) return kInvalidOffset;
      if (!move(entry)) return kTransferError;
    }
  }
  return kOk;
}

bool Nvme::Move(Access access, uint64_t address, void* bytes, std::size_t size) {
  const uint64_t control = Long(kCmbControl);
  constexpr uint64_t kCmbOn = kCmbRegisters | kCmbMemory;
  const uint64_t start = control & ~uint64_t{0xfff};
  const bool is_on = kind_.cmb && (control & kCmbOn) == kCmbOn && (Word(kCmbStatus) & kAddressInvalid) == 0;
  if (is_on && address >= start && address - start < kCmbBytes && size <= kCmbBytes - (address - start)) {
    uint8_t* own = port_.Memory(kCmbBar) + (address - start);
    std::memcpy(access == Access::kRead ? bytes : own, access == Access::kRead ? own : bytes, size);
    return true;
  }
  return port_.Dma(access, address, bytes, size);
}

}  // namespace fake
