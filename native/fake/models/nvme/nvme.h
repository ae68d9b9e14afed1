// An NVMe controller as QEMU has it (NVM Express base specification 1.4): its registers, queues that it reaches by DMA
// or in its own Controller Memory Buffer, and namespaces that are kept in memory. A command is complete when the
// doorbell write returns, unless drives ring each other's doorbells too often or the completion queue is full.
#pragma once

#include <array>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "fake/models/model.h"
#include "fake/models/nvme/namespace.h"
#include "fake/models/nvme/protocol.h"

namespace fake::nvme {

class Nvme : public Model {
 public:
  struct Kind {
    bool cmb = false;                  // all of BAR 2
    bool cmb_at_once = false;          // enabled from the start, as before version 1.4; otherwise CMBMSC enables it
    uint32_t queues = kMostQueues;     // I/O queues of each kind
    uint32_t vectors = kVectors;       // of MSI-X
    uint16_t virtual_functions = 0;    // with a part in a subsystem
    std::vector<uint64_t> namespaces;  // their bytes; the first is namespace 1
  };
  Nvme(Kind kind, std::string serial, DmaPort& port, InterruptPort& interrupts);

  uint64_t Read(unsigned bar, uint64_t offset, unsigned width) override;
  void Write(unsigned bar, uint64_t offset, unsigned width, uint64_t value) override;
  void Reset() override;

 private:
  // The addresses in the shadow doorbell buffer and in the event index buffer. 0: neither is in use.
  struct Shadow {
    uint64_t value = 0;
    uint64_t event = 0;
  };
  struct Submission {
    uint64_t address;
    uint32_t entries;
    uint16_t completion;
    Shadow shadow = {};
    uint32_t head = 0;
    uint32_t tail = 0;
  };
  struct Completion {
    uint64_t address;
    uint32_t entries;
    bool interrupts;
    uint16_t vector;
    Shadow shadow = {};
    uint32_t head = 0;
    uint32_t tail = 0;
    bool phase = true;
  };
  struct Event {
    uint8_t type;
    uint8_t information;
    uint8_t log;
  };
  using Bytes = std::vector<uint8_t>;

  // registers.cc
  uint32_t& Word(uint64_t offset) { return words_.at(offset / 4); }
  uint64_t Long(uint64_t offset) { return Word(offset) | uint64_t{Word(offset + 4)} << 32; }
  void WriteWord(uint64_t offset, uint32_t value);
  void Configure(uint32_t value);
  bool CanEnable();
  bool Enable();
  void EnableCmb();
  void CheckCmbAddress();
  uint64_t PageSize();

  // queues.cc
  void Ring(uint64_t doorbell, uint32_t value);
  void RingSubmission(uint16_t queue, uint32_t value);
  void RingCompletion(uint16_t queue, uint32_t value);
  void ReadShadow(uint32_t* value, const Shadow& shadow, uint32_t entries);
  void WriteShadow(uint64_t address, uint32_t value);
  bool IsFull(uint16_t completion);
  void Execute(uint16_t queue);
  void Complete(uint16_t queue, const Submission& submission, uint32_t id, Status status);
  void UpdateIntx();
  Status CheckQueue(const Command& command, bool exists);
  Status CreateCompletion(const Command& command);
  Status CreateSubmission(const Command& command);
  Status DeleteSubmission(const Command& command);
  Status DeleteCompletion(const Command& command);
  Status ConfigureShadows(const Command& command);

  // events.cc
  Status RequestEvent(const Command& command);
  void Report(const Event& event);
  void SendEvents();
  void ClearEvents(uint8_t type);
  void CheckTemperature();

  // admin.cc
  Status Admin(const Command& command);
  Status Abort(const Command& command);
  Status Attach(const Command& command);
  Status Format(const Command& command);

  // identify.cc
  Status Identify(const Command& command);
  Bytes AboutController() const;
  static Bytes AboutNamespace(const Namespace& space);
  Bytes AboutPrimary() const;
  Bytes AboutSecondaries(uint16_t first) const;
  Status ListNamespaces(const Command& command, bool attached);
  Status ListControllers(const Command& command);

  // features.cc
  Status GetFeature(const Command& command);
  Status SetFeature(const Command& command);
  Status CurrentFeature(const Command& command);
  Status DefaultFeature(const Command& command);
  Status Threshold(uint32_t word);
  Status VectorConfiguration(uint32_t word);
  Status SetThreshold(uint32_t word);
  Status SetOfNamespace(const Command& command);

  // logs.cc
  Status GetLog(const Command& command);
  Bytes Health();
  Bytes Effects(uint8_t command_set);

  // io.cc
  Status Io(const Command& command);
  Status ReadOrWrite(const Command& command, Namespace& space);
  Status Compare(const Command& command, const Namespace& space);
  Status Copy(const Command& command, Namespace& space);
  Status Deallocate(const Command& command, Namespace& space);
  Status MoveBlocks(Access access, const Command& command, const Namespace& space, Bytes& blocks);

  // data.cc
  // Bytes at an address of the controller's: in memory, or in its own CMB. False: they are out of reach.
  bool Move(Access access, uint64_t address, void* bytes, std::size_t size);
  // A command's data, where its data pointer says.
  Status Transfer(Access access, const Command& command, Bytes& data);
  Status TransferPages(Access access, const Command& command, Bytes& data);
  Status TransferList(Access access, const Command& command, Bytes& data);
  Status Answer(const Command& command, Bytes data) { return Transfer(Access::kWrite, command, data); }

  // An attached namespace, or nullptr.
  Namespace* Find(uint32_t id);

  const Kind kind_;
  const std::string serial_;
  DmaPort& port_;
  InterruptPort& interrupt_port_;
  std::array<uint32_t, 0x1000 / 4> words_ = {};
  std::map<uint16_t, Submission> submissions_;
  std::map<uint16_t, Completion> completions_;
  std::map<uint32_t, Namespace> namespaces_;
  // Doorbells have the order that they have in BAR 0.
  Shadow ShadowOf(uint64_t doorbell) const { return {shadows_.value + 4 * doorbell, shadows_.event + 4 * doorbell}; }
  Shadow shadows_ = {};  // of all queues
  bool had_queues_ = false;
  uint64_t life_ = 0;     // counts resets
  uint32_t result_ = 0;   // first word of the current command's result
  bool running_ = false;  // executing; a doorbell write by its own DMA waits for the next write

  std::vector<uint16_t> event_requests_;  // commands
  std::deque<Event> events_;
  std::set<uint8_t> masked_events_;  // types whose log was not read since the last event
  std::set<uint32_t> changed_namespaces_;

  // What a reset keeps.
  uint32_t event_configuration_ = 0;
  uint32_t too_hot_ = 0x157;
  uint32_t too_cold_ = 0;
  std::array<uint8_t, 512> host_behavior_ = {};
  uint64_t timestamp_ = 0;  // that the host has set, in milliseconds
  uint8_t timestamp_origin_ = 0;
  uint64_t timestamp_set_at_ = 0;

  struct Statistics {
    uint64_t read = 0;  // bytes
    uint64_t written = 0;
    uint64_t reads = 0;  // commands
    uint64_t writes = 0;
  };
  Statistics statistics_ = {};
};

}  // namespace fake::nvme
