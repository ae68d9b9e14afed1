// Records the ioctls of an environment; lib/addon/trace.ts publishes them.
#include "core/trace.h"

#include "binding/addon.h"
#include "binding/call.h"
#include "binding/handle.h"

namespace binding {

template <>
struct HandleType<core::Trace> {
  static constexpr const char* kName = "trace";
};

namespace {

// traceStart(): Trace. Starts to record this environment's ioctls; traceTake() removes them.
Napi::Value TraceStart(const Napi::CallbackInfo& info) {
  auto trace = std::make_shared<core::Trace>();
  core::Trace::SetCurrent(trace);
  return Wrap(info.Env(), std::move(trace));
}

// traceTake(trace): { calls: { ioctl, fd, file, result, start, duration }[], dropped }
Napi::Value TraceTake(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto [calls, dropped] = Unwrap<core::Trace>(info[0])->Take();
  List list(env);
  for (const auto& call : calls) {
    Record entry(env);
    entry.Define("ioctl", call.ioctl);
    entry.Define("fd", call.fd);
    entry.Define("file", call.file);
    entry.Define("result", call.result);
    entry.Define("start", FromU64(env, call.start));
    entry.Define("duration", static_cast<double>(call.duration));
    list.Append(entry);
  }
  Record result(env);
  result.Define("calls", list);
  result.Define("dropped", static_cast<double>(dropped));
  return result;
}

// traceStop(trace)
Napi::Value TraceStop(const Napi::CallbackInfo& info) {
  auto& trace = Unbox<core::Trace>(info[0]);
  if (trace && core::Trace::Current() == trace) core::Trace::SetCurrent(nullptr);
  trace.reset();
  return info.Env().Undefined();
}

}  // namespace

void InitTrace(Napi::Env env, Napi::Object exports) {
  Export<TraceStart>(env, exports, "traceStart");
  Export<TraceTake>(env, exports, "traceTake");
  Export<TraceStop>(env, exports, "traceStop");
}

}  // namespace binding
