// VFIO_DEVICE_SET_IRQS, and the delivery of interrupts to eventfds.
#include "fake/pci/interrupts.h"

#include <cerrno>
#include <cstring>

#include "fake/files/user_memory.h"

namespace fake {
namespace {

constexpr uint32_t kIntx = uapi::VFIO_PCI_INTX_IRQ_INDEX;
constexpr uint32_t kMsi = uapi::VFIO_PCI_MSI_IRQ_INDEX;
constexpr uint32_t kMsix = uapi::VFIO_PCI_MSIX_IRQ_INDEX;

bool HasNone(const uapi::vfio_irq_set& request) { return (request.flags & uapi::VFIO_IRQ_SET_DATA_NONE) != 0; }
bool HasBools(const uapi::vfio_irq_set& request) { return (request.flags & uapi::VFIO_IRQ_SET_DATA_BOOL) != 0; }
bool HasEventfds(const uapi::vfio_irq_set& request) { return (request.flags & uapi::VFIO_IRQ_SET_DATA_EVENTFD) != 0; }

// Whether the request applies to its vector number `at`.
bool Means(const uapi::vfio_irq_set& request, uint32_t at) {
  return HasNone(request) || reinterpret_cast<const uint8_t*>(&request + 1)[at] != 0;
}

int32_t EventfdAt(const uapi::vfio_irq_set& request, uint32_t at) {
  int32_t fd = -1;
  std::memcpy(&fd, reinterpret_cast<const uint8_t*>(&request + 1) + at * sizeof(fd), sizeof(fd));
  return fd;
}

// vfio_set_irqs_validate_and_prepare()
int Validate(const uapi::vfio_irq_set& request, const Interrupts::Indices& indices) {
  constexpr uint32_t kKnown = uapi::VFIO_IRQ_SET_DATA_TYPE_MASK | uapi::VFIO_IRQ_SET_ACTION_TYPE_MASK;
  const auto& [argsz, flags, index, start, count] = request;
  if (argsz < sizeof(request) || index >= uapi::VFIO_PCI_NUM_IRQS || count >= ~start || (flags & ~kKnown) != 0) {
    return -EINVAL;
  }
  const uint32_t vectors = indices.at(index).count;
  if (start >= vectors || start + count > vectors) return -EINVAL;
  std::size_t size = 0;
  switch (flags & uapi::VFIO_IRQ_SET_DATA_TYPE_MASK) {
    case uapi::VFIO_IRQ_SET_DATA_NONE:
      return 0;
    case uapi::VFIO_IRQ_SET_DATA_BOOL:
      size = sizeof(uint8_t);
      break;
    case uapi::VFIO_IRQ_SET_DATA_EVENTFD:
      size = sizeof(int32_t);
      break;
    default:
      return -EINVAL;
  }
  if (argsz - sizeof(request) < count * size) return -EINVAL;
  return CopyArrayFromUser<uint8_t>(&request + 1, count * size) ? 0 : -EFAULT;
}

}  // namespace

int Interrupts::Set(const uapi::vfio_irq_set& request) {
  if (const int valid = Validate(request, indices_); valid != 0) return valid;
  const uint32_t action = request.flags & uapi::VFIO_IRQ_SET_ACTION_TYPE_MASK;
  if (request.index == kIntx) {
    if (action == uapi::VFIO_IRQ_SET_ACTION_MASK) return MaskIntx(request);
    if (action == uapi::VFIO_IRQ_SET_ACTION_UNMASK) return UnmaskIntx(request);
  }
  if (action != uapi::VFIO_IRQ_SET_ACTION_TRIGGER) return -ENOTTY;
  switch (request.index) {
    case kIntx:
      return SetIntx(request);
    case kMsi:
    case kMsix:
      return SetMessages(request);
    case uapi::VFIO_PCI_ERR_IRQ_INDEX:
      return SetSingle(request, error_);
    default:
      return SetSingle(request, request_);
  }
}

void Interrupts::Release() {
  Disable();
  error_.reset();
  request_.reset();
  intx_disabled_ = false;
  pin_ = false;
}

void Interrupts::Disable() {
  vectors_.clear();
  unmask_.reset();
  enabled_.reset();
  msi_sends_ = false;
}

// ---- INTx ----

void Interrupts::SendIntx() const {
  const auto trigger = vectors_.find(0);
  if (Is(kIntx) && !intx_disabled_ && trigger != vectors_.end() && trigger->second) trigger->second->Signal();
}

// vfio_intx_handler()
void Interrupts::CheckPin() {
  if (!Is(kIntx) || masked_ || !pin_) return;
  masked_ = true;
  SendIntx();
}

void Interrupts::SetPin(bool asserted) {
  pin_ = asserted;
  CheckPin();
}

// While the pin is still asserted, INTx stays masked and is signalled again.
void Interrupts::Unmask() {
  if (!Is(kIntx) || !masked_ || intx_disabled_) return;
  if (pin_) {
    SendIntx();
  } else {
    masked_ = false;
  }
}

void Interrupts::SetIntxDisable(bool disable) {
  if (disable == intx_disabled_) return;
  intx_disabled_ = disable;
  disable ? Mask() : Unmask();
}

// The pin is deasserted; the enabled interrupts are restored in the hardware.
void Interrupts::Reset() {
  pin_ = false;
  msi_sends_ = Is(kMsi);
}

int Interrupts::SetIntx(const uapi::vfio_irq_set& request) {
  if (Is(kIntx) && request.count == 0 && HasNone(request)) {
    Disable();
    return 0;
  }
  if ((enabled_ && !Is(kIntx)) || request.start != 0 || request.count != 1) return -EINVAL;
  if (HasEventfds(request)) {
    Trigger trigger;
    const int32_t fd = EventfdAt(request, 0);
    if (const int taken = fd >= 0 ? Eventfd::Take(fd, &trigger) : 0; taken != 0) return taken;
    vectors_[0] = trigger;
    if (!Is(kIntx)) {
      enabled_ = kIntx;
      masked_ = intx_disabled_;
      CheckPin();
    }
    return 0;
  }
  if (!Is(kIntx)) return -EINVAL;
  if (Means(request, 0)) SendIntx();
  return 0;
}

int Interrupts::MaskIntx(const uapi::vfio_irq_set& request) {
  if (!Is(kIntx) || request.start != 0 || request.count != 1) return -EINVAL;
  if (HasEventfds(request)) return -ENOTTY;
  if (Means(request, 0)) Mask();
  return 0;
}

int Interrupts::UnmaskIntx(const uapi::vfio_irq_set& request) {
  if (!Is(kIntx) || request.start != 0 || request.count != 1) return -EINVAL;
  if (!HasEventfds(request)) {
    if (Means(request, 0)) Unmask();
    return 0;
  }
  const int32_t fd = EventfdAt(request, 0);
  if (fd < 0) {
    unmask_.reset();
    return 0;
  }
  if (unmask_ && unmask_->eventfd().Abandoned()) unmask_.reset();
  std::shared_ptr<Eventfd> eventfd;  // a bad eventfd is reported before EBUSY
  if (const int taken = Eventfd::Take(fd, &eventfd); taken != 0) return taken;
  return unmask_ ? -EBUSY : table_.OnSignal(fd, [this] { Unmask(); }, &unmask_);
}

// ---- MSI and MSI-X ----

void Interrupts::Deliver(unsigned vector) {
  const auto found = vectors_.find(vector);
  if (found != vectors_.end()) found->second->Signal();
}

int Interrupts::SetVector(uint32_t vector, int32_t eventfd) {
  vectors_.erase(vector);
  if (eventfd < 0) return 0;
  const bool fixed = enabled_ && (indices_.at(*enabled_).flags & uapi::VFIO_IRQ_INFO_NORESIZE) != 0;
  if (fixed && vector >= allocated_) return -EINVAL;
  Trigger trigger;
  const int taken = Eventfd::Take(eventfd, &trigger);
  if (taken == 0) vectors_[vector] = std::move(trigger);
  return taken;
}

// vfio_msi_set_block(): if one fails, those before it lose their eventfds, too.
int Interrupts::SetVectors(uint32_t start, const std::vector<int32_t>& eventfds) {
  for (uint32_t i = 0; i < eventfds.size(); ++i) {
    const int set = SetVector(start + i, eventfds[i]);
    if (set == 0) continue;
    for (uint32_t j = 0; j <= i; ++j) SetVector(start + j, -1);
    return set;
  }
  return 0;
}

int Interrupts::SetMessages(const uapi::vfio_irq_set& request) {
  const auto [argsz, flags, index, start, count] = request;
  if (Is(index) && count == 0 && HasNone(request)) {
    Disable();
    return 0;
  }
  if (enabled_ && !Is(index)) return -EINVAL;
  if (HasEventfds(request)) {
    std::vector<int32_t> eventfds(count);
    for (uint32_t i = 0; i < count; ++i) eventfds[i] = EventfdAt(request, i);
    if (Is(index)) return SetVectors(start, eventfds);
    if (start + count == 0) return -ERANGE;
    enabled_ = index;
    allocated_ = start + count;
    msi_sends_ = index == kMsi;
    const int set = SetVectors(start, eventfds);
    if (set != 0) Disable();
    return set;
  }
  if (!Is(index)) return -EINVAL;
  for (uint32_t i = 0; i < count; ++i) {
    if (Means(request, i)) Deliver(start + i);
  }
  return 0;
}

// ---- The error and request channels ----

// vfio_pci_set_ctx_trigger_single()
int Interrupts::SetSingle(const uapi::vfio_irq_set& request, Trigger& trigger) {
  if (request.start != 0 || request.count > 1) return -EINVAL;
  if (HasNone(request)) {
    if (!trigger) return -EINVAL;
    if (request.count == 0) {
      trigger.reset();
    } else {
      trigger->Signal();
    }
    return 0;
  }
  if (request.count == 0) return -EINVAL;
  if (HasBools(request)) {
    if (trigger && Means(request, 0)) trigger->Signal();
    return 0;
  }
  const int32_t fd = EventfdAt(request, 0);
  if (fd < -1) return -EINVAL;
  Trigger taken;
  const int result = fd < 0 ? 0 : Eventfd::Take(fd, &taken);
  if (result == 0) trigger = std::move(taken);
  return result;
}

}  // namespace fake
