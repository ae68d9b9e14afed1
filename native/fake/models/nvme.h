// An NVMe controller as QEMU has it (NVM Express base specification 1.4): its registers, queues that it reaches by DMA
// or in its own Controller Memory Buffer, and one namespace that is kept in memory. A command is complete when the
// doorbell write returns, unless drives ring each other's doorbells too often.
#pragma once

#include <array>
#include <map>
#include <vector>

#include "fake/models/model.h"

namespace fake {

class Nvme : public Model {
 public:
  struct Kind {
    bool cmb;          // all of BAR 2
    bool cmb_at_once;  // enabled from the start, as before version 1.4; otherwise CMBMSC enables it
    uint64_t blocks;   // of 512 bytes; 0: there is no namespace
  };
  Nvme(const Kind& kind, DmaPort& port, InterruptPort& interrupts);

  uint64_t Read(unsigned bar, uint64_t offset, unsigned width) override;
  void Write(unsigned bar, uint64_t offset, unsigned width, uint64_t value) override;
  void Reset() override;

 private:
  struct Submission {
    uint64_t address;
    uint32_t entries;
    uint16_t completion;
    uint32_t head = 0;
    uint32_t tail = 0;
  };
  struct Completion {
    uint64_t address;
    uint32_t entries;
    bool interrupts;
    uint16_t vector;
    uint32_t tail = 0;
    bool phase = true;
  };
  struct Command {
    std::array<uint32_t, 16> words;
    uint8_t opcode() const { return static_cast<uint8_t>(words[0]); }
    uint32_t id() const { return words[0] >> 16; }
    // Of a command that creates or deletes a queue.
    uint16_t queue() const { return static_cast<uint16_t>(words[10]); }
    uint32_t entries() const { return (words[10] >> 16) + 1; }
    uint64_t prp1() const { return words[6] | uint64_t{words[7]} << 32; }
    uint64_t prp2() const { return words[8] | uint64_t{words[9]} << 32; }
  };
  using Status = uint16_t;

  uint32_t& Word(uint64_t offset) { return words_.at(offset / 4); }
  uint64_t Long(uint64_t offset) { return Word(offset) | uint64_t{Word(offset + 4)} << 32; }
  void WriteWord(uint64_t offset, uint32_t value);
  void Configure(uint32_t value);
  bool Enable();
  void EnableCmb();
  void CheckCmbAddress();
  void Ring(uint64_t doorbell, uint32_t value);
  void Execute(uint16_t queue);
  void Complete(uint16_t queue, const Submission& submission, uint32_t id, Status status);

  Status Admin(const Command& command);
  Status CheckQueue(const Command& command, bool exists);
  Status CreateCompletion(const Command& command);
  Status CreateSubmission(const Command& command);
  Status Delete(const Command& command, bool submission);
  Status Identify(const Command& command);
  Status Features(const Command& command);
  Status Io(const Command& command);

  // Bytes at an address of the controller's: in memory, or in its own CMB. False: they are out of reach.
  bool Move(Access access, uint64_t address, void* bytes, std::size_t size);
  // A command's data, where its two PRP entries say.
  Status Transfer(Access access, const Command& command, std::vector<uint8_t>& data);
  uint64_t PageSize() { return uint64_t{4096} << (Word(0x14) >> 7 & 0xf); }

  const Kind kind_;
  DmaPort& port_;
  InterruptPort& interrupt_port_;
  std::array<uint32_t, 0x1000 / 4> words_ = {};
  std::map<uint16_t, Submission> submissions_;
  std::map<uint16_t, Completion> completions_;
  std::map<uint64_t, std::array<uint8_t, 512>> blocks_;  // those that are not all zeroes
  uint64_t life_ = 0;                                    // counts resets
  uint32_t result_ = 0;                                  // first word of the current command's result
  bool running_ = false;  // executing; a doorbell write by its own DMA waits for the next write
};

}  // namespace fake
