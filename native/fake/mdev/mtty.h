// Linux's sample "mtty" (samples/vfio-mdev/mtty.c): a serial card with one or two loopback ports, which supports
// migration.
#pragma once

#include <array>

#include "fake/mdev/mdev.h"

namespace fake {

constexpr unsigned kFifoSize = 16;

// As it is in the migration data.
struct SerialPort {
  std::array<uint8_t, 8> registers;
  std::array<uint8_t, kFifoSize> fifo;
  uint8_t head;
  uint8_t tail;
  uint8_t count;
  uint8_t divisor_latch;  // the first two registers are the divisor's
  uint8_t overrun;
  uint8_t unused0;
  uint16_t divisor;
  uint8_t fifo_control;
  uint8_t fifo_size;
  uint8_t trigger_level;
  uint8_t unused1;
};
static_assert(sizeof(SerialPort) == 36);

struct SerialState {
  uint64_t magic;
  uint32_t major;
  uint32_t minor;
  uint32_t ports;
  uint32_t flags;
  std::array<SerialPort, 2> port;
};
static_assert(sizeof(SerialState) == 96);

class Mtty : public Mdev {
 public:
  Mtty(const MdevDescription& description, FileTable& table, kernel::Mutex& lock, unsigned ports);

 protected:
  int GetRegion(uint32_t index, Region* region, uapi::vfio_region_info_cap_type* type) override REQUIRES(lock_);
  int GetIrqInfo(uapi::vfio_irq_info& info) override REQUIRES(lock_);
  int Reset() override REQUIRES(lock_);
  bool Read(uint64_t at, unsigned width, uint32_t* value) override REQUIRES(lock_);
  bool Write(uint64_t at, unsigned width, uint32_t value) override REQUIRES(lock_);
  void CloseDevice() override REQUIRES(lock_);
  Migration* migration() override REQUIRES(lock_) { return &state_; }
  DmaLog* log() override REQUIRES(lock_) { return &log_; }

 private:
  class DataFile;

  class State : public Migration {
   public:
    explicit State(Mtty& device);
    uint64_t DataSize() const override;
    void Reset();
    void DisableFiles();

   protected:
    int Step(uint32_t next, std::shared_ptr<File>* file) override;

   private:
    int Load();
    void Save(uint32_t next, std::shared_ptr<File>* file);

    Mtty& device_;
    std::shared_ptr<DataFile> saving_;
    std::shared_ptr<DataFile> resuming_;
  };

  // Accepts all writes; reads return nothing.
  class Log : public DmaLog {
   public:
    int Start(const std::vector<Range>&, uint64_t*) override { return 0; }
    int Stop() override { return 0; }
    int ReadAndClear(uint64_t, uint64_t, const Mark&) override { return 0; }
  };

  uint8_t ReadRegister(SerialPort& port, uint16_t offset) REQUIRES(lock_);
  void WriteRegister(SerialPort& port, uint16_t offset, uint8_t value) REQUIRES(lock_);
  void WriteConfig(uint16_t offset, uint32_t value) REQUIRES(lock_);

  const unsigned ports_;
  std::array<uint8_t, 255> config_ GUARDED_BY(lock_) = {};
  std::array<SerialPort, 2> port_ GUARDED_BY(lock_) = {};
  State state_ GUARDED_BY(lock_);
  Log log_ GUARDED_BY(lock_);
};

}  // namespace fake
