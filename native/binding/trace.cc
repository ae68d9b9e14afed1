// Records the ioctls of an environment; lib/addon/trace.ts publishes them.
#include "core/trace.h"

#include "binding/addon.h"

namespace binding {

template <>
inline constexpr const char* kHandleName<core::Trace> = "trace";

template <>
Napi::Value ToJs(Napi::Env env, const core::Trace::Call& call) {
  return Record(env)
      .Define("ioctl", call.ioctl)
      .Define("fd", call.fd)
      .Define("file", call.file)
      .Define("result", call.result)
      .Define("start", call.start)
      .Define("duration", static_cast<double>(call.duration));
}

template <>
Napi::Value ToJs(Napi::Env env, const core::Trace::Calls& taken) {
  return Record(env).Define("calls", taken.calls).Define("dropped", static_cast<double>(taken.dropped));
}

namespace {

// traceStart(): Trace. Starts to record this environment's ioctls; traceTake() removes them.
std::shared_ptr<core::Trace> TraceStart(Napi::Env) {
  auto trace = std::make_shared<core::Trace>();
  core::Trace::SetCurrent(trace);
  return trace;
}

// traceStop(trace)
void TraceStop(const Napi::CallbackInfo& info) {
  auto& trace = Unbox<core::Trace>(info[0]);
  if (trace && core::Trace::Current() == trace) core::Trace::SetCurrent(nullptr);
  trace.reset();
}

}  // namespace

void InitTrace(Napi::Env env, Napi::Object exports) {
  Export<TraceStart>(env, exports, "traceStart");
  Export<&core::Trace::Take>(env, exports, "traceTake");
  Export<TraceStop>(env, exports, "traceStop");
}

}  // namespace binding
