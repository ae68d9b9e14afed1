// The registers, DMA engine and interrupts of edu.
#include "fake/models/edu.h"

namespace fake {
namespace {

constexpr uint32_t kIdentification = 0x010000ed;
constexpr uint64_t kBufferStart = 0x40000;

enum Register : uint64_t {
  kId = 0x00,
  kLiveness = 0x04,  // reads back what was written, inverted
  kFactorial = 0x08,
  kStatus = 0x20,
  kInterruptStatus = 0x24,
  kInterruptRaise = 0x60,
  kInterruptAcknowledge = 0x64,
  kDmaSource = 0x80,
  kDmaDestination = 0x88,
  kDmaCount = 0x90,
  kDmaCommand = 0x98,
};

constexpr uint64_t kRun = 1U << 0;
constexpr uint64_t kToMemory = 1U << 1;
constexpr uint64_t kInterruptWhenDone = 1U << 2;
constexpr uint32_t kInterruptFactorial = 0x001;
constexpr uint32_t kInterruptDma = 0x100;
constexpr uint32_t kStatusInterruptFactorial = 0x80;

// The DMA registers take 4 or 8 bytes, the others 4.
bool IsAccess(uint64_t offset, unsigned width) { return width == 4 || (width == 8 && offset >= kDmaSource); }

}  // namespace

uint64_t Edu::Read(unsigned, uint64_t offset, unsigned width) {
  if (width < 4) return 0;
  if (!IsAccess(offset, width)) return ~uint64_t{0};
  switch (offset) {
    case kId:
      return kIdentification;
    case kLiveness:
      return liveness_;
    case kFactorial:
      return factorial_;
    case kStatus:
      return status_;
    case kInterruptStatus:
      return interrupts_;
    case kDmaSource:
      return source_;
    case kDmaDestination:
      return destination_;
    case kDmaCount:
      return count_;
    case kDmaCommand:
      return command_;
    default:
      return ~uint64_t{0};
  }
}

void Edu::Write(unsigned, uint64_t offset, unsigned width, uint64_t value) {
  if (!IsAccess(offset, width)) return;
  const auto word = static_cast<uint32_t>(value);
  switch (offset) {
    case kLiveness:
      liveness_ = ~word;
      break;
    case kFactorial:
      factorial_ = 1;
      for (uint32_t n = word; n > 0 && factorial_ != 0; --n) factorial_ *= n;
      if ((status_ & kStatusInterruptFactorial) != 0) Raise(kInterruptFactorial);
      break;
    case kStatus:
      status_ = word & kStatusInterruptFactorial;
      break;
    case kInterruptRaise:
      Raise(word);
      break;
    case kInterruptAcknowledge:
      Acknowledge(word);
      break;
    case kDmaSource:
      source_ = value;
      break;
    case kDmaDestination:
      destination_ = value;
      break;
    case kDmaCount:
      count_ = value;
      break;
    case kDmaCommand:
      if ((value & kRun) != 0 && !running_) Start(value);
      break;
    default:
      break;
  }
}

void Edu::Start(uint64_t command) {
  command_ = command & ~kRun;
  const bool to_memory = (command & kToMemory) != 0;
  const uint64_t inside = (to_memory ? source_ : destination_) - kBufferStart;
  // QEMU stops the machine here; this model does nothing.
  if (inside > buffer_.size() || count_ > buffer_.size() - inside) return;
  running_ = true;
  if (to_memory) {
    port_.Dma(Access::kWrite, destination_, buffer_.data() + inside, count_);
  } else {
    port_.Dma(Access::kRead, source_, buffer_.data() + inside, count_);
  }
  running_ = false;
  if ((command & kInterruptWhenDone) != 0) Raise(kInterruptDma);
}

// Also when the cause is set already.
void Edu::Raise(uint32_t causes) {
  interrupts_ |= causes;
  if (interrupts_ == 0) return;
  if (interrupt_port_.MsiEnabled()) {
    interrupt_port_.SendMsi(0);
  } else {
    interrupt_port_.SetIntx(true);
  }
}

void Edu::Acknowledge(uint32_t causes) {
  interrupts_ &= ~causes;
  if (interrupts_ == 0 && !interrupt_port_.MsiEnabled()) interrupt_port_.SetIntx(false);
}

}  // namespace fake
