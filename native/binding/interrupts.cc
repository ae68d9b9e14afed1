// Functions of a VFIO device's interrupts and ioeventfds.
#include "core/interrupts.h"

#include "binding/addon.h"

namespace binding {
namespace {

// irqSet(device, action, index, start, count)
// irqSetChosen(…, Uint8Array): the action applies to the vectors whose byte is 1
// irqSetEventfds(…, Int32Array): an fd number for each vector; -1 removes its eventfd
template <typename Vectors>
void IrqSet(const core::VfioDevice& device, uint32_t action, uint32_t index, uint32_t start, const Vectors& vectors) {
  core::SetIrqs(device.fd(), {.action = action, .index = index, .start = start}, vectors);
}

// ioeventfdAdd(device, offset, width, data, fd number)
void IoeventfdAdd(const core::VfioDevice& device, uint64_t offset, uint32_t width, uint64_t data, int32_t eventfd) {
  core::SetIoeventfd(device.fd(), {.offset = offset, .width = width, .data = data}, eventfd);
}

// ioeventfdRemove(device, offset, width, data)
void IoeventfdRemove(const core::VfioDevice& device, uint64_t offset, uint32_t width, uint64_t data) {
  IoeventfdAdd(device, offset, width, data, -1);
}

}  // namespace

void InitInterrupts(Napi::Env env, Napi::Object exports) {
  Export<IrqSet<uint32_t>>(env, exports, "irqSet");
  Export<IrqSet<std::vector<uint8_t>>>(env, exports, "irqSetChosen");
  Export<IrqSet<std::vector<int32_t>>>(env, exports, "irqSetEventfds");
  Export<IoeventfdAdd>(env, exports, "ioeventfdAdd");
  Export<IoeventfdRemove>(env, exports, "ioeventfdRemove");
  Export<core::TakeCount>(env, exports, "eventfdTake");
  Export<core::AddCount>(env, exports, "eventfdAdd");
}

}  // namespace binding
