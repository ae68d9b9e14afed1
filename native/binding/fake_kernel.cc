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

using Kind = fake::BarDescription::Kind;

Kind ToKind(const Napi::Value& value) {
  const std::string kind = value.ToString();
  if (kind == "memory") return Kind::kMemory;
  if (kind == "registers") return Kind::kRegisters;
  return kind == "io" ? Kind::kIoPort : Kind::kNone;
}

std::vector<fake::InfoCapability> ToCapabilities(const Napi::Value& value) {
  std::vector<fake::InfoCapability> capabilities;
  const auto list = value.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Object object = list.Get(i).ToObject();
    capabilities.push_back({static_cast<uint16_t>(ToU32(object.Get("id"))),
                            static_cast<uint16_t>(ToU32(object.Get("version"))), ToBytes(object.Get("data"))});
  }
  return capabilities;
}

// The object's type is NativeDevice in lib/addon/native.ts.
fake::DeviceDescription ToDevice(const Napi::Object& object) {
  fake::DeviceDescription device = {.address = object.Get("address").ToString(),
                                    .cdev = object.Get("cdev").ToString(),
                                    .syspath = object.Get("syspath").ToString(),
                                    .model = object.Get("model").ToString(),
                                    .config = ToBytes(object.Get("config")),
                                    .config_writable = ToBytes(object.Get("configWritable")),
                                    .rom_size = ToU64(object.Get("romSize"))};
  device.config_writable.resize(device.config.size());
  for (uint32_t i = 0; i < device.bars.size(); ++i) {
    const Napi::Value bar = object.Get("bars").ToObject().Get(i);
    if (!bar.IsObject()) continue;
    device.bars.at(i) = {ToKind(bar.ToObject().Get("kind")), ToU64(bar.ToObject().Get("size"))};
  }
  for (uint32_t i = 0; i < device.irqs.size(); ++i) {
    const Napi::Object irq = object.Get("irqs").ToObject().Get(i).ToObject();
    device.irqs.at(i) = {ToU32(irq.Get("flags")), ToU32(irq.Get("count"))};
  }
  device.group = ToU32(object.Get("group"));
  device.firmware_region = object.Get("firmwareRegion").ToBoolean();
  device.virtual_functions = ToU32(object.Get("virtualFunctions"));
  device.physical = object.Get("physical").ToString();
  device.capabilities = ToCapabilities(object.Get("capabilities"));
  for (uint32_t i = 0; i < device.bars.size(); ++i) {
    device.region_capabilities[i] = ToCapabilities(object.Get("regionCapabilities").ToObject().Get(i));
  }
  if (const Napi::Value msix = object.Get("msix"); msix.IsObject()) {
    const auto table = msix.ToObject();
    device.msix = {ToU32(table.Get("bar")), ToU64(table.Get("offset")), ToU64(table.Get("size"))};
  }
  return device;
}

fake::MachineDescription ToMachine(const Napi::Object& object) {
  fake::MachineDescription machine;
  machine.iommufd = object.Get("iommufd").ToBoolean();
  const auto iommu = object.Get("iommu").ToObject();
  machine.iommu.last_iova = ToU64(iommu.Get("lastIova"));
  machine.iommu.alignment = 4096;
  machine.iommu.capability = ToU64(iommu.Get("capability"));
  machine.iommu.extended_capability = ToU64(iommu.Get("extendedCapability"));
  const auto reserved = iommu.Get("reserved").As<Napi::Array>();
  for (uint32_t i = 0; i < reserved.Length(); ++i) {
    const auto range = reserved.Get(i).ToObject();
    machine.iommu.reserved.push_back({ToU64(range.Get("start")), ToU64(range.Get("last"))});
  }
  const auto devices = object.Get("devices").As<Napi::Array>();
  for (uint32_t i = 0; i < devices.Length(); ++i) machine.devices.push_back(ToDevice(devices.Get(i).ToObject()));
  const auto mdevs = object.Get("mdevs").As<Napi::Array>();
  for (uint32_t i = 0; i < mdevs.Length(); ++i) {
    const auto mdev = mdevs.Get(i).ToObject();
    machine.mdevs.push_back({mdev.Get("cdev").ToString(), mdev.Get("type").ToString()});
  }
  return machine;
}

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

// fakeKernel(machine, parent folder of its sysfs): Kernel
Napi::Value FakeKernel(const Napi::CallbackInfo& info) {
  const fake::MachineDescription machine = ToMachine(info[0].ToObject());
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
  kernels[fake->sysfs().path()] = kernel;
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
  return Napi::String::New(info.Env(), ToFake(info[0])->sysfs().path());
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
