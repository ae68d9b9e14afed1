// Functions of the options of an iommufd and its IOASes, and of physical addresses.
#include "binding/addon.h"
#include "binding/handle.h"

namespace binding {
namespace {

// ioasAdopt(iommufd, id): Ioas
Napi::Value IoasAdopt(const Napi::CallbackInfo& info) {
  const auto iommufd = Unwrap<core::Fd>(info[0]);
  const uint32_t id = ToU32(info[1]);
  return Wrap(info.Env(), core::Ioas::Adopt(iommufd, id));
}

// ioasAllowIovas(ioas, BigUint64Array [start, last, start, last, …])
void IoasAllowIovas(const Napi::CallbackInfo& info) {
  if (!info[1].IsTypedArray()) throw Napi::TypeError::New(info.Env(), "expected a BigUint64Array");
  const auto words = info[1].As<Napi::BigUint64Array>();
  if (words.TypedArrayType() != napi_biguint64_array) throw Napi::TypeError::New(info.Env(), "expected 64-bit words");
  std::vector<uapi::iommu_iova_range> ranges(words.ElementLength() / 2);
  for (std::size_t i = 0; i < ranges.size(); ++i) ranges[i] = {words[2 * i], words[2 * i + 1]};
  Unwrap<core::Ioas>(info[0])->AllowIovas(ranges);
}

// ioasHugePages(ioas): boolean
Napi::Value IoasHugePages(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), Unwrap<core::Ioas>(info[0])->HugePages());
}

// ioasSetHugePages(ioas, enable)
void IoasSetHugePages(const Napi::CallbackInfo& info) {
  Unwrap<core::Ioas>(info[0])->SetHugePages(info[1].ToBoolean());
}

// ioasPhysical(ioas, iova, length): { address, length }
Napi::Value IoasPhysical(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto [address, length] = Unwrap<core::Ioas>(info[0])->NoIommuGetPhysical(ToU64(info[1]), ToU64(info[2]));
  Record result(env);
  result.Define("address", FromU64(env, address));
  result.Define("length", FromU64(env, length));
  return result;
}

// iommufdRlimitMode(iommufd): number
Napi::Value IommufdRlimitMode(const Napi::CallbackInfo& info) {
  const uint64_t mode = core::RlimitMode(*Unwrap<core::Fd>(info[0]));
  return Napi::Number::New(info.Env(), static_cast<double>(mode));
}

// iommufdSetRlimitMode(iommufd, mode)
void IommufdSetRlimitMode(const Napi::CallbackInfo& info) {
  core::SetRlimitMode(*Unwrap<core::Fd>(info[0]), ToU32(info[1]));
}

// iommufdChangeProcess(iommufd)
void IommufdChangeProcess(const Napi::CallbackInfo& info) { core::ChangeProcess(*Unwrap<core::Fd>(info[0])); }

// iommufdVfioIoas(iommufd): number | undefined
Napi::Value IommufdVfioIoas(const Napi::CallbackInfo& info) {
  const auto id = core::VfioIoas(*Unwrap<core::Fd>(info[0]));
  return id ? Napi::Number::New(info.Env(), *id) : info.Env().Undefined();
}

// iommufdSetVfioIoas(iommufd, ioas)
void IommufdSetVfioIoas(const Napi::CallbackInfo& info) {
  core::SetVfioIoas(*Unwrap<core::Fd>(info[0]), Unwrap<core::Ioas>(info[1])->id());
}

// iommufdClearVfioIoas(iommufd)
void IommufdClearVfioIoas(const Napi::CallbackInfo& info) { core::ClearVfioIoas(*Unwrap<core::Fd>(info[0])); }

}  // namespace

void InitIommufdOptions(Napi::Env env, Napi::Object exports) {
  Export<IoasAdopt>(env, exports, "ioasAdopt");
  Export<IoasAllowIovas>(env, exports, "ioasAllowIovas");
  Export<IoasHugePages>(env, exports, "ioasHugePages");
  Export<IoasSetHugePages>(env, exports, "ioasSetHugePages");
  Export<IoasPhysical>(env, exports, "ioasPhysical");
  Export<IommufdRlimitMode>(env, exports, "iommufdRlimitMode");
  Export<IommufdSetRlimitMode>(env, exports, "iommufdSetRlimitMode");
  Export<IommufdChangeProcess>(env, exports, "iommufdChangeProcess");
  Export<IommufdVfioIoas>(env, exports, "iommufdVfioIoas");
  Export<IommufdSetVfioIoas>(env, exports, "iommufdSetVfioIoas");
  Export<IommufdClearVfioIoas>(env, exports, "iommufdClearVfioIoas");
}

}  // namespace binding
