// Functions of a VFIO device's interrupts and ioeventfds.
#include "core/interrupts.h"

#include "binding/addon.h"
#include "binding/call.h"
#include "binding/handle.h"

namespace binding {
namespace {

core::IrqSet ToIrqSet(const Napi::CallbackInfo& info) {
  return {.action = ToU32(info[1]), .index = ToU32(info[2]), .start = ToU32(info[3])};
}

// irqSet(device, action, index, start, count)
void IrqSet(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  const auto set = ToIrqSet(info);
  const uint32_t count = ToU32(info[4]);
  core::SetIrqs(device->fd(), set, count);
}

// irqSetChosen(device, action, index, start, Uint8Array): the action applies to the vectors whose byte is 1
void IrqSetChosen(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  const auto set = ToIrqSet(info);
  const auto array = ToArray<Napi::Uint8Array>(info[4], napi_uint8_array);
  const std::vector<uint8_t> chosen(array.Data(), array.Data() + array.ElementLength());
  core::SetIrqs(device->fd(), set, chosen);
}

// irqSetEventfds(device, action, index, start, Int32Array): an fd number for each vector; -1 removes its eventfd
void IrqSetEventfds(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  const auto set = ToIrqSet(info);
  const auto array = ToArray<Napi::Int32Array>(info[4], napi_int32_array);
  const std::vector<int32_t> eventfds(array.Data(), array.Data() + array.ElementLength());
  core::SetIrqs(device->fd(), set, eventfds);
}

core::EventWrite ToEventWrite(const Napi::CallbackInfo& info) {
  return {.offset = ToU64(info[1]), .width = ToU32(info[2]), .data = ToU64(info[3])};
}

// ioeventfdAdd(device, offset, width, data, fd number)
void IoeventfdAdd(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  const auto write = ToEventWrite(info);
  const auto eventfd = static_cast<int32_t>(ToU32(info[4]));
  core::SetIoeventfd(device->fd(), write, eventfd);
}

// ioeventfdRemove(device, offset, width, data)
void IoeventfdRemove(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  const auto write = ToEventWrite(info);
  core::SetIoeventfd(device->fd(), write, -1);
}

// eventfdTake(fd): bigint, the count, which becomes 0
Napi::Value EventfdTake(const Napi::CallbackInfo& info) {
  const auto fd = Unwrap<core::Fd>(info[0]);
  return FromU64(info.Env(), core::TakeCount(*fd));
}

// eventfdAdd(fd, count)
void EventfdAdd(const Napi::CallbackInfo& info) {
  const auto fd = Unwrap<core::Fd>(info[0]);
  const uint64_t count = ToU64(info[1]);
  core::AddCount(*fd, count);
}

}  // namespace

void InitInterrupts(Napi::Env env, Napi::Object exports) {
  Export<IrqSet>(env, exports, "irqSet");
  Export<IrqSetChosen>(env, exports, "irqSetChosen");
  Export<IrqSetEventfds>(env, exports, "irqSetEventfds");
  Export<IoeventfdAdd>(env, exports, "ioeventfdAdd");
  Export<IoeventfdRemove>(env, exports, "ioeventfdRemove");
  Export<EventfdTake>(env, exports, "eventfdTake");
  Export<EventfdAdd>(env, exports, "eventfdAdd");
}

}  // namespace binding
