// Asynchronous events (section 5.2).
#include "fake/models/nvme/nvme.h"

namespace fake::nvme {
namespace {

constexpr uint8_t kThresholdPassed = 1;
constexpr uint32_t kTemperatureWarnings = 1U << 1;  // of the configuration, feature 0Bh

}  // namespace

Status Nvme::RequestEvent(const Command& command) {
  if (event_requests_.size() == kMostEventRequests) return kTooManyEventRequests;
  event_requests_.push_back(static_cast<uint16_t>(command.id()));
  return kNoCompletion;
}

void Nvme::Report(const Event& event) {
  // Without a request, a refused doorbell write is not an event.
  if (event.type == kErrorEvent && event_requests_.empty()) return;
  if (events_.size() < kMostEvents) events_.push_back(event);
  if (!running_) SendEvents();
}

// Completes one request for each event whose type is not masked. QEMU takes the newest request.
void Nvme::SendEvents() {
  for (auto event = events_.begin(); event != events_.end();) {
    const auto admin = submissions_.find(0);
    if (event_requests_.empty() || admin == submissions_.end() || IsFull(0)) return;
    if (masked_events_.contains(event->type)) {
      ++event;
      continue;
    }
    masked_events_.insert(event->type);
    const uint16_t request = event_requests_.back();
    event_requests_.pop_back();
    result_ = event->type | uint32_t{event->information} << 8 | uint32_t{event->log} << 16;
    events_.erase(event);
    Complete(0, admin->second, request, kOk);
    event = events_.begin();  // the completion may have reset the controller
  }
}

// The log was read: the next event of this type may be sent.
void Nvme::ClearEvents(uint8_t type) { masked_events_.erase(type); }

void Nvme::CheckTemperature() {
  const bool is_outside = kTemperature >= too_hot_ || kTemperature <= too_cold_;
  if (!is_outside || (event_configuration_ & kTemperatureWarnings) == 0) return;
  Report({kHealthEvent, kThresholdPassed, kHealthLog});
}

}  // namespace fake::nvme
