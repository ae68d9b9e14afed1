// The serial ports of mtty, their interrupts, and their migration.
#include "fake/mdev/mtty.h"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace fake {
namespace {

constexpr uint64_t kPortSize = 8;
constexpr uint64_t kMagic = 0x7e9d09898c3e2c4e;
constexpr std::size_t kHeaderSize = offsetof(SerialState, port);

// A 16550's registers, and what of their bits matters here.
enum Register : uint16_t {
  kData = 0,
  kInterruptEnable = 1,
  kInterruptIdentification = 2,  // FIFO control, when it is written
  kLineControl = 3,
  kModemControl = 4,
  kLineStatus = 5,
  kModemStatus = 6,
  kScratch = 7,
};
constexpr uint8_t kReceived = 0x01;  // of the interrupt enable register
constexpr uint8_t kTransmitterEmpty = 0x02;
constexpr uint8_t kLineChanged = 0x04;
constexpr uint8_t kFifoEnable = 0x01;
constexpr uint8_t kClear = 0x06;
constexpr uint8_t kDivisorLatch = 0x80;
constexpr uint8_t kAutoFlow = 0x20;

template <typename T>
void Put(std::array<uint8_t, 255>& config, std::size_t at, T value) {
  std::memcpy(&config.at(at), &value, sizeof(value));
}

std::array<uint8_t, 255> MakeConfig(unsigned ports) {
  std::array<uint8_t, 255> config = {};
  Put<uint32_t>(config, 0x00, 0x32534348);
  Put<uint16_t>(config, 0x04, 0x0001);
  Put<uint16_t>(config, 0x06, 0x0200);
  Put<uint32_t>(config, 0x08, 0x07000210);
  Put<uint32_t>(config, 0x10, 1);
  if (ports == 2) Put<uint32_t>(config, 0x14, 1);
  Put<uint32_t>(config, 0x2c, 0x32534348);
  Put<uint8_t>(config, 0x3d, 1);
  Put<uint32_t>(config, 0x40, 0x80000023);
  for (const std::size_t at : {0x44U, 0x48U, 0x4cU}) Put<uint8_t>(config, at, 0x23);
  constexpr std::string_view kName = "PCI Serial/UART";
  std::ranges::copy(kName, config.begin() + 0x60);
  return config;
}

}  // namespace

// The data file of one migration: saving or resuming.
class Mtty::DataFile : public File {
 public:
  DataFile(Mtty& device, bool saving) : device_(device), saving_(saving) {}

  void Disable() {
    disabled_ = true;
    filled_ = position_ = 0;
  }
  void WriteHeader(uint32_t ports) {
    state = {.magic = kMagic, .major = 1, .ports = ports};
    filled_ = kHeaderSize;
  }
  void AddPort() { filled_ += sizeof(SerialPort); }
  std::size_t filled() const { return filled_; }

  std::string Path() override { return "anon_inode:mtty_mig"; }
  int64_t Pread(void*, std::size_t, uint64_t) override { return -ESPIPE; }
  int64_t Pwrite(const void*, std::size_t, uint64_t) override { return -ESPIPE; }

  int64_t Read(void* buffer, std::size_t size) override {
    if (!saving_) return -EBADF;
    if (disabled_) return -ENODEV;
    if (position_ > filled_) return -EINVAL;
    const std::size_t moved = std::min(size, filled_ - position_);
    std::memcpy(buffer, reinterpret_cast<const uint8_t*>(&state) + position_, moved);
    position_ += moved;
    return static_cast<int64_t>(moved);
  }

  int64_t Write(const void* buffer, std::size_t size) override {
    device_.IsLocked();
    if (saving_) return -EBADF;
    if (position_ + size > device_.state_.DataSize()) return -ENOMEM;
    if (disabled_) return -ENODEV;
    std::memcpy(reinterpret_cast<uint8_t*>(&state) + position_, buffer, size);
    position_ += size;
    const bool header = filled_ < kHeaderSize && filled_ + size >= kHeaderSize;
    filled_ += size;
    const bool known = state.magic == kMagic && state.flags == 0 && state.major == 1 && state.minor == 0 &&
                       state.ports == device_.ports_;
    return header && !known ? -EFAULT : static_cast<int64_t>(size);
  }

  int Ioctl(uapi::request_t request, void* argument) override {
    if (!saving_ || request != uapi::VFIO_MIG_GET_PRECOPY_INFO) return -ENOTTY;
    device_.IsLocked();
    auto& info = *static_cast<uapi::vfio_precopy_info*>(argument);
    if (info.argsz < sizeof(info)) return -EINVAL;
    const uint32_t state = device_.state_.state();
    if (state != uapi::VFIO_DEVICE_STATE_PRE_COPY && state != uapi::VFIO_DEVICE_STATE_PRE_COPY_P2P) return -EINVAL;
    if (disabled_) return -ENODEV;
    if (position_ > filled_) return -EINVAL;
    if (device_.state_.precopy_info_v2()) info.flags = 0;
    info.initial_bytes = filled_ - position_;
    info.dirty_bytes = 0;
    return 0;
  }

  SerialState state = {};

 private:
  Mtty& device_;  // lives as long as the fake kernel
  bool saving_;
  bool disabled_ = false;
  std::size_t filled_ = 0;
  std::size_t position_ = 0;
};

Mtty::State::State(Mtty& device)
    : Migration(uapi::VFIO_MIGRATION_STOP_COPY | uapi::VFIO_MIGRATION_P2P | uapi::VFIO_MIGRATION_PRE_COPY),
      device_(device) {}

uint64_t Mtty::State::DataSize() const { return kHeaderSize + device_.ports_ * sizeof(SerialPort); }

void Mtty::State::DisableFiles() {
  for (auto* file : {&saving_, &resuming_}) {
    if (*file) (*file)->Disable();
    file->reset();
  }
}

void Mtty::State::Reset() {
  Restart();
  DisableFiles();
}

int Mtty::State::Load() {
  if (!resuming_) return -EINVAL;  // closed while resuming, and opened again: the sample follows a null pointer here
  if (resuming_->filled() < DataSize()) return -EINVAL;
  device_.IsLocked();
  std::copy_n(resuming_->state.port.begin(), device_.ports_, device_.port_.begin());
  return 0;
}

// After pre-copy, the same file is used.
void Mtty::State::Save(uint32_t next, std::shared_ptr<File>* file) {
  if (!saving_) {
    saving_ = std::make_shared<DataFile>(device_, true);
    saving_->WriteHeader(device_.ports_);
    *file = saving_;
  }
  if (next != uapi::VFIO_DEVICE_STATE_STOP_COPY) return;
  device_.IsLocked();
  for (unsigned i = 0; i < device_.ports_; ++i) {
    saving_->state.port.at(i) = device_.port_.at(i);
    saving_->AddPort();
  }
}

int Mtty::State::Step(uint32_t next, std::shared_ptr<File>* file) {
  switch (next) {
    case uapi::VFIO_DEVICE_STATE_STOP_COPY:
      Save(next, file);
      return 0;
    case uapi::VFIO_DEVICE_STATE_PRE_COPY:
    case uapi::VFIO_DEVICE_STATE_PRE_COPY_P2P:
      if (state() == uapi::VFIO_DEVICE_STATE_RUNNING || state() == uapi::VFIO_DEVICE_STATE_RUNNING_P2P) {
        Save(next, file);
      }
      return 0;
    case uapi::VFIO_DEVICE_STATE_RESUMING:
      resuming_ = std::make_shared<DataFile>(device_, false);
      *file = resuming_;
      return 0;
    default:
      break;
  }
  if (state() == uapi::VFIO_DEVICE_STATE_RESUMING) {
    if (const int loaded = Load(); loaded != 0) return loaded;
  }
  DisableFiles();  // the old state was pre-copy, stop-copy or resuming
  return 0;
}

Mtty::Mtty(const MdevDescription& description, FileTable& table, kernel::Mutex& lock, unsigned ports)
    : Mdev(description, table, lock), ports_(ports), config_(MakeConfig(ports)), state_(*this) {
  for (auto& port : port_) port.fifo_size = kFifoSize;
}

// The registers keep their values.
int Mtty::Reset() {
  state_.Reset();
  return 0;
}

void Mtty::CloseDevice() { state_.DisableFiles(); }

int Mtty::GetRegion(uint32_t index, Region* region, uapi::vfio_region_info_cap_type*) {
  if (index >= uapi::VFIO_PCI_NUM_REGIONS) return -EINVAL;
  uint64_t size = index < ports_ ? kPortSize : 0;
  if (index == uapi::VFIO_PCI_CONFIG_REGION_INDEX) size = config_.size();
  *region = {size, uint64_t{index} << kRegionShift, kReadWrite};
  return 0;
}

// The driver counts the indices only when it is asked for the device's info.
int Mtty::GetIrqInfo(uapi::vfio_irq_info& info) {
  if (!asked_info_ || info.index > uapi::VFIO_PCI_MSI_IRQ_INDEX) return -EINVAL;
  info.flags = uapi::VFIO_IRQ_INFO_EVENTFD;
  info.count = 1;
  info.flags |= info.index == uapi::VFIO_PCI_INTX_IRQ_INDEX
                    ? uapi::VFIO_IRQ_INFO_MASKABLE | uapi::VFIO_IRQ_INFO_AUTOMASKED
                    : uapi::VFIO_IRQ_INFO_NORESIZE;
  return 0;
}

// Only the first byte of a wider access is the register's. Past the end of config space the sample shows whatever is in
// the kernel's memory there: here, zeros.
bool Mtty::Read(uint64_t at, unsigned width, uint32_t* value) {
  const uint64_t index = at >> kRegionShift;
  const uint64_t offset = at & kRegionOffsetMask;
  *value = 0;
  if (index == uapi::VFIO_PCI_CONFIG_REGION_INDEX) {
    if (offset < config_.size()) {
      std::memcpy(value, &config_.at(offset), std::min<std::size_t>(width, config_.size() - offset));
    }
    return true;
  }
  if (index >= uapi::VFIO_PCI_ROM_REGION_INDEX) return false;
  if (index < ports_) *value = ReadRegister(port_.at(index), static_cast<uint16_t>(offset));
  return true;
}

bool Mtty::Write(uint64_t at, unsigned, uint32_t value) {
  const uint64_t index = at >> kRegionShift;
  const auto offset = static_cast<uint16_t>(at);
  if (index == uapi::VFIO_PCI_CONFIG_REGION_INDEX) {
    WriteConfig(offset, value);
    return true;
  }
  if (index >= uapi::VFIO_PCI_ROM_REGION_INDEX) return false;
  if (index < ports_) WriteRegister(port_.at(index), offset, static_cast<uint8_t>(value));
  return true;
}

void Mtty::WriteConfig(uint16_t offset, uint32_t value) {
  switch (offset) {
    case 0x3c:
      config_.at(offset) = static_cast<uint8_t>(value);
      break;
    case 0x10:
    case 0x14:
      if (offset == 0x14 && ports_ == 1) break;
      if (value == ~0U) value = ~static_cast<uint32_t>(kPortSize) + 1;
      Put<uint32_t>(config_, offset, value | (config_.at(offset) & 3U));
      break;
    default:
      break;
  }
}

uint8_t Mtty::ReadRegister(SerialPort& port, uint16_t offset) {
  const bool empty = port.head == port.tail;
  const uint8_t enabled = port.registers.at(kInterruptEnable);
  const auto bit = [](bool set, uint8_t value) { return set ? value : uint8_t{0}; };
  switch (offset) {
    case kData: {
      if (port.divisor_latch != 0) return static_cast<uint8_t>(port.divisor);
      if (empty) return 0;
      const uint8_t value = port.fifo.at(port.tail % kFifoSize);
      --port.count;
      port.tail = static_cast<uint8_t>((port.tail + 1) % kFifoSize);
      return value;
    }
    case kInterruptEnable:
      return port.divisor_latch != 0 ? static_cast<uint8_t>(port.divisor >> 8) : enabled & 0x0f;
    case kInterruptIdentification: {
      uint8_t cause = 0;
      cause |= bit((enabled & kLineChanged) != 0 && port.overrun != 0, 0x06);
      cause |= bit((enabled & kReceived) != 0 && port.count >= port.trigger_level, 0x04);
      cause |= bit((enabled & kTransmitterEmpty) != 0 && empty, 0x02);
      // The modem's cause is number 0, and the sample also sets the "none" bit.
      return static_cast<uint8_t>(cause | bit(cause == 0, 0x01) | 0xc0);
    }
    case kLineControl:
    case kModemControl:
    case kScratch:
      return port.registers.at(offset);
    case kLineStatus:
      return static_cast<uint8_t>(bit(!empty, 0x01) | bit(port.overrun != 0, 0x02) | bit(empty, 0x60));
    case kModemStatus: {
      const bool flow = (port.registers.at(kModemControl) & kAutoFlow) != 0;
      return static_cast<uint8_t>(0xa2 | bit(!flow || port.count < port.fifo_size, 0x11));
    }
    default:
      return 0;
  }
}

void Mtty::WriteRegister(SerialPort& port, uint16_t offset, uint8_t value) {
  switch (offset) {
    case kData:
      if (port.divisor_latch != 0) {
        port.divisor |= value;
      } else if (port.count < port.fifo_size) {
        port.fifo.at(port.head % kFifoSize) = value;
        ++port.count;
        port.head = static_cast<uint8_t>((port.head + 1) % kFifoSize);
        port.overrun = 0;
      } else {
        port.overrun = 1;
      }
      break;
    case kInterruptEnable:
      if (port.divisor_latch != 0) {
        port.divisor = static_cast<uint16_t>(port.divisor | value << 8);
      } else {
        port.registers.at(offset) = value;
      }
      break;
    case kInterruptIdentification:
      port.fifo_control = value;
      if ((value & kClear) != 0) port.count = port.head = port.tail = 0;
      port.trigger_level = 1;
      port.fifo_size = (value & kFifoEnable) != 0 ? kFifoSize : 1;
      break;
    case kLineControl:
      port.divisor_latch = (value & kDivisorLatch) != 0 ? 1 : 0;
      if (port.divisor_latch != 0) port.divisor = 0;
      port.registers.at(offset) = value;
      break;
    case kModemControl:
    case kScratch:
      port.registers.at(offset) = value;
      break;
    default:
      break;
  }
}

}  // namespace fake
