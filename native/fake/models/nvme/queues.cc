// Submission and completion queues: doorbells and their shadows, execution, completion and interrupts.
#include <algorithm>

#include "fake/models/nvme/nvme.h"

namespace fake::nvme {
namespace {

// Section 5.2: a doorbell write that is refused.
constexpr uint8_t kInvalidDoorbell = 0;
constexpr uint8_t kInvalidDoorbellValue = 1;

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

void Nvme::Ring(uint64_t doorbell, uint32_t value) {
  const auto queue = static_cast<uint16_t>(doorbell / 2);
  if (doorbell % 2 != 0) {
    RingCompletion(queue, value);
  } else {
    RingSubmission(queue, value);
  }
}

void Nvme::RingSubmission(uint16_t queue, uint32_t value) {
  const auto found = submissions_.find(queue);
  if (found == submissions_.end() || value >= found->second.entries) {
    const bool is_known = found != submissions_.end();
    Report({kErrorEvent, is_known ? kInvalidDoorbellValue : kInvalidDoorbell, kErrorLog});
    return;
  }
  found->second.tail = value;
  // Drivers need not keep the shadows of the admin queues: QEMU does it for them.
  if (queue == 0) WriteShadow(found->second.shadow.value, value);
  if (!running_) Execute(queue);
}

void Nvme::RingCompletion(uint16_t queue, uint32_t value) {
  const auto found = completions_.find(queue);
  if (found == completions_.end() || value >= found->second.entries) {
    const bool is_known = found != completions_.end();
    Report({kErrorEvent, is_known ? kInvalidDoorbellValue : kInvalidDoorbell, kErrorLog});
    return;
  }
  const bool was_full = IsFull(queue);
  found->second.head = value;
  if (queue == 0) WriteShadow(found->second.shadow.value, value);
  UpdateIntx();
  if (!was_full || running_) return;
  std::vector<uint16_t> waiting;
  for (const auto& [id, each] : submissions_) {
    if (each.completion == queue) waiting.push_back(id);
  }
  for (const uint16_t id : waiting) {
    if (submissions_.contains(id)) Execute(id);
  }
  if (queue == 0) SendEvents();
}

void Nvme::ReadShadow(uint32_t* value, const Shadow& shadow, uint32_t entries) {
  uint32_t found = 0;
  if (shadow.value != 0 && Move(Access::kRead, shadow.value, &found, sizeof(found)) && found < entries) *value = found;
}

void Nvme::WriteShadow(uint64_t address, uint32_t value) {
  if (address != 0) Move(Access::kWrite, address, &value, sizeof(value));
}

bool Nvme::IsFull(uint16_t completion) {
  const auto found = completions_.find(completion);
  if (found == completions_.end()) return false;
  Completion& queue = found->second;
  const auto full = [&] { return (queue.tail + 1) % queue.entries == queue.head; };
  if (full() && queue.shadow.value != 0) {
    WriteShadow(queue.shadow.event, queue.head);
    ReadShadow(&queue.head, queue.shadow, queue.entries);
  }
  return full();
}

void Nvme::Execute(uint16_t queue) {
  running_ = true;
  const Turn turn;
  // Only the commands that are queued now: they may ring this doorbell again, endlessly, and may delete this queue.
  const uint64_t life = life_;
  const auto pending = [](const Submission& each) { return (each.tail + each.entries - each.head) % each.entries; };
  uint32_t left = 0;
  bool is_fresh = true;
  for (;;) {
    const auto found = submissions_.find(queue);
    if (found == submissions_.end() || life_ != life) break;
    Submission& submission = found->second;
    if (is_fresh) ReadShadow(&submission.tail, submission.shadow, submission.entries);
    if (is_fresh) left = pending(submission);
    is_fresh = false;
    if (left == 0) {
      // The driver writes to the doorbell only beyond the event index. What it queued before that counts, too.
      const uint32_t tail = submission.tail;
      WriteShadow(submission.shadow.event, tail);
      ReadShadow(&submission.tail, submission.shadow, submission.entries);
      left = submission.tail == tail ? 0 : pending(submission);
      if (left == 0) break;
    }
    if (IsFull(submission.completion) || !Turn::Take()) break;
    --left;
    Command command = {};
    if (!Move(Access::kRead, submission.address + uint64_t{submission.head} * sizeof(command), &command.words,
              sizeof(command))) {
      Word(kControllerStatus) |= kFatal;
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
  if (queue == 0 && life_ == life) SendEvents();
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
    UpdateIntx();
  }
}

// INTx is asserted while a completion queue with interrupts has entries and its vector is not masked.
void Nvme::UpdateIntx() {
  if (interrupt_port_.MsixEnabled()) return;
  const uint32_t masked = Word(kInterruptMaskSet);
  interrupt_port_.SetIntx(std::ranges::any_of(completions_, [masked](const auto& each) {
    const Completion& queue = each.second;
    return queue.interrupts && queue.tail != queue.head && (queue.vector >= 32 || (masked >> queue.vector & 1) == 0);
  }));
}

// Of a command that creates a queue.
Status Nvme::CheckQueue(const Command& command, bool exists) {
  if (command.queue() == 0 || command.queue() > kind_.queues || exists) return kInvalidQueue;
  if (command.entries() < 2 || command.entries() > kMostEntries) return kInvalidQueueSize;
  return command.prp1() % PageSize() != 0 ? kInvalidOffset : kOk;
}

Status Nvme::CreateCompletion(const Command& command) {
  const auto& words = command.words;
  const uint16_t id = command.queue();
  const auto vector = static_cast<uint16_t>(words[11] >> 16);
  if (const Status bad = CheckQueue(command, completions_.contains(id)); bad != kOk) return bad;
  if (vector >= kind_.vectors || (vector > 0 && !interrupt_port_.MsixEnabled())) return kInvalidVector;
  if ((words[11] & 1) == 0) return kInvalidField;  // not contiguous
  completions_[id] = {
      .address = command.prp1(), .entries = command.entries(), .interrupts = (words[11] & 2) != 0, .vector = vector};
  if (shadows_.value != 0) completions_[id].shadow = ShadowOf(uint64_t{2} * id + 1);
  had_queues_ = true;
  return kOk;
}

Status Nvme::CreateSubmission(const Command& command) {
  const auto& words = command.words;
  const uint16_t id = command.queue();
  const auto completion = static_cast<uint16_t>(words[11] >> 16);
  if (completion == 0 || !completions_.contains(completion)) return kInvalidCompletionQueue;
  if (const Status bad = CheckQueue(command, submissions_.contains(id)); bad != kOk) return bad;
  if ((words[11] & 1) == 0) return kInvalidField;
  submissions_[id] = {.address = command.prp1(), .entries = command.entries(), .completion = completion};
  if (shadows_.value != 0) submissions_[id].shadow = ShadowOf(uint64_t{2} * id);
  return kOk;
}

Status Nvme::DeleteSubmission(const Command& command) {
  const uint16_t id = command.queue();
  return id != 0 && submissions_.erase(id) > 0 ? kOk : kInvalidQueue;
}

Status Nvme::DeleteCompletion(const Command& command) {
  const uint16_t id = command.queue();
  if (id == 0 || !completions_.contains(id)) return kInvalidCompletionQueue;
  const bool used = std::ranges::any_of(submissions_, [&](const auto& each) { return each.second.completion == id; });
  if (used) return kInvalidDeletion;
  completions_.erase(id);
  UpdateIntx();
  return kOk;
}

// Section 5.7, Doorbell Buffer Config.
Status Nvme::ConfigureShadows(const Command& command) {
  if (command.prp1() % PageSize() != 0 || command.prp2() % PageSize() != 0) return kInvalidField;
  shadows_ = {command.prp1(), command.prp2()};
  for (auto& [id, each] : submissions_) {
    each.shadow = ShadowOf(uint64_t{2} * id);
    WriteShadow(each.shadow.value, each.tail);
    WriteShadow(each.shadow.event, each.tail);
  }
  for (auto& [id, each] : completions_) {
    each.shadow = ShadowOf(uint64_t{2} * id + 1);
    WriteShadow(each.shadow.value, each.head);
    WriteShadow(each.shadow.event, each.head);
  }
  return kOk;
}

}  // namespace fake::nvme
