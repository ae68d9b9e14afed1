// Functions of a fake kernel: its creation from a machine's description, and queries of tests.
#include "binding/fake_kernel.h"

#include <map>
#include <system_error>

#include "binding/addon.h"
#include "binding/call.h"
#include "binding/handle.h"
#include "kernel/failing_kernel.h"

namespace binding {
namespace {

// The fake kernels of this process by their sysfs folders, through which other threads find them. A kernel lives as
// long as a thread has a handle of it or of an object that uses it.
struct Known {
  kernel::Mutex mutex;
  std::map<std::string, std::weak_ptr<kernel::FailingKernel>> kernels GUARDED_BY(mutex);
};

Known& TheKnown() {
  static auto* known = new Known;  // never destroyed: threads may outlive static objects
  return *known;
}

// fakeKernel(text form of the machine, parent folder of its sysfs): Kernel
Napi::Value FakeKernel(const Napi::CallbackInfo& info) {
  const fake::MachineDescription machine = fake::ReadMachine(info[0].ToString());
  std::shared_ptr<fake::FakeKernel> fake;
  try {
    fake = std::make_shared<fake::FakeKernel>(machine, info[1].ToString());
  } catch (const std::system_error& error) {
    throw core::Failure{error.code().value(), "mkdtemp", nullptr};
  }
  const auto kernel = std::make_shared<kernel::FailingKernel>(fake);
  auto& known = TheKnown();
  const kernel::Lock guard(known.mutex);
  auto& kernels = known.kernels;
  std::erase_if(kernels, [](const auto& entry) { return entry.second.expired(); });
  kernels[fake->sysfs()] = kernel;
  return Wrap<kernel::Kernel>(info.Env(), kernel);
}

// fakeAttach(sysfs): Kernel | undefined, the fake kernel of this process with that sysfs folder
Napi::Value FakeAttach(const Napi::CallbackInfo& info) {
  auto& known = TheKnown();
  std::shared_ptr<kernel::FailingKernel> kernel;
  {
    const kernel::Lock guard(known.mutex);
    const auto found = known.kernels.find(info[0].ToString());
    if (found != known.kernels.end()) kernel = found->second.lock();
  }
  return kernel ? Wrap<kernel::Kernel>(info.Env(), kernel) : info.Env().Undefined();
}

// The kernel behind a fake kernel's handle. Throws a TypeError for any other kernel.
std::shared_ptr<kernel::FailingKernel> ToFailing(const Napi::Value& value) {
  auto kernel = std::dynamic_pointer_cast<kernel::FailingKernel>(Unwrap<kernel::Kernel>(value));
  if (!kernel) throw Napi::TypeError::New(value.Env(), "expected a fake kernel");
  return kernel;
}

// fakeTakeFaults(kernel): { device, iova, access, reason }[]
Napi::Value FakeTakeFaults(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  List result(env);
  for (const auto& fault : ToFake(info[0])->TakeFaults()) {
    Record object(env);
    object.Define("device", fault.device);
    object.Define("iova", FromU64(env, fault.iova));
    object.Define("access", fault.access == fake::Access::kRead ? "read" : "write");
    object.Define("reason", fault.reason);
    result.Append(object);
  }
  return result;
}

// fakeSysfs(kernel): string
Napi::Value FakeSysfs(const Napi::CallbackInfo& info) {
  return Napi::String::New(info.Env(), ToFake(info[0])->sysfs());
}

// fakeShutdown(kernel): a second call does nothing
void FakeShutdown(const Napi::CallbackInfo& info) { ToFake(info[0])->Shutdown(); }

// fakeReplaceNode(kernel, path, target)
void FakeReplaceNode(const Napi::CallbackInfo& info) {
  ToFake(info[0])->ReplaceNode(info[1].ToString(), info[2].ToString());
}

// fakeOpenFiles(kernel): number
Napi::Value FakeOpenFiles(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(ToFake(info[0])->OpenFiles()));
}

// fakeOpenMappings(kernel): number
Napi::Value FakeOpenMappings(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(ToFake(info[0])->OpenMappings()));
}

// fakeFailCall(kernel, n, errno)
void FakeFailCall(const Napi::CallbackInfo& info) {
  ToFailing(info[0])->FailCall(ToU32(info[1]), static_cast<int>(ToU32(info[2])));
}

// fakeFailedCall(kernel): { name, request } | undefined
Napi::Value FakeFailedCall(const Napi::CallbackInfo& info) {
  const auto call = ToFailing(info[0])->FailedCall();
  if (!call) return info.Env().Undefined();
  Record result(info.Env());
  result.Define("name", call->name);
  result.Define("request", static_cast<double>(call->request));
  return result;
}

}  // namespace

std::shared_ptr<fake::FakeKernel> ToFake(const Napi::Value& value) {
  return std::static_pointer_cast<fake::FakeKernel>(ToFailing(value)->kernel());  // FakeKernel() wraps only FakeKernels
}

void InitFakeKernel(Napi::Env env, Napi::Object exports) {
  Export<FakeKernel>(env, exports, "fakeKernel");
  Export<FakeAttach>(env, exports, "fakeAttach");
  Export<FakeSysfs>(env, exports, "fakeSysfs");
  Export<FakeShutdown>(env, exports, "fakeShutdown");
  Export<FakeReplaceNode>(env, exports, "fakeReplaceNode");
  Export<FakeTakeFaults>(env, exports, "fakeTakeFaults");
  Export<FakeOpenFiles>(env, exports, "fakeOpenFiles");
  Export<FakeOpenMappings>(env, exports, "fakeOpenMappings");
  Export<FakeFailCall>(env, exports, "fakeFailCall");
  Export<FakeFailedCall>(env, exports, "fakeFailedCall");
}

}  // namespace binding
