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

const core::Fd& EventfdOf(napi_env env, void* data) {
  const auto& fd = **static_cast<Cell<core::Fd>*>(data);
  if (!fd) ThrowCoded(env, "ERR_CLOSED", "the eventfd is closed");
  return *fd;
}

// take(): bigint
napi_value HotTake(napi_env env, napi_callback_info info) {
  void* data = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  napi_value result = nullptr;
  napi_create_bigint_uint64(env, core::TakeCount(EventfdOf(env, data)), &result);
  return result;
}

// add(count)
napi_value HotAdd(napi_env env, napi_callback_info info) {
  std::size_t arguments = 1;
  napi_value argument = nullptr;
  void* data = nullptr;
  napi_get_cb_info(env, info, &arguments, &argument, nullptr, &data);
  uint64_t count = 0;
  bool lossless = false;
  if (napi_get_value_bigint_uint64(env, argument, &count, &lossless) != napi_ok || !lossless) {
    throw Napi::TypeError::New(env, "expected a bigint of 64 bits");
  }
  core::AddCount(EventfdOf(env, data), count);
  return nullptr;
}

// eventfdHot(fd): { take(), add(count) }, functions of this eventfd
Napi::Value EventfdHot(const Napi::CallbackInfo& info) {
  const auto& cell = CellOf<core::Fd>(info[0]);
  return Record(info.Env())
      .Define("take", HotFunction<HotTake>(info.Env(), "take", cell))
      .Define("add", HotFunction<HotAdd>(info.Env(), "add", cell));
}

}  // namespace

void InitInterrupts(Napi::Env env, Napi::Object exports) {
  Export<IrqSet<uint32_t>>(env, exports, "irqSet");
  Export<IrqSet<std::vector<uint8_t>>>(env, exports, "irqSetChosen");
  Export<IrqSet<std::vector<int32_t>>>(env, exports, "irqSetEventfds");
  Export<IoeventfdAdd>(env, exports, "ioeventfdAdd");
  Export<IoeventfdRemove>(env, exports, "ioeventfdRemove");
  Export<core::TakeCount>(env, exports, "eventfdTake");
  Export<EventfdHot>(env, exports, "eventfdHot");
}

}  // namespace binding
