// Functions of the options of an iommufd and its IOASes, and of physical addresses.
#include "binding/addon.h"

namespace binding {

template <>
Napi::Value ToJs(Napi::Env env, const core::Ioas::PhysicalRange& range) {
  return Record(env).Define("address", range.address).Define("length", range.length);
}

namespace {

// iommufdRlimitMode(iommufd): number
double IommufdRlimitMode(const core::Fd& iommufd) { return static_cast<double>(core::RlimitMode(iommufd)); }

// iommufdSetRlimitMode(iommufd, mode: number)
void IommufdSetRlimitMode(const core::Fd& iommufd, uint32_t mode) { core::SetRlimitMode(iommufd, mode); }

// iommufdSetVfioIoas(iommufd, ioas)
void IommufdSetVfioIoas(const core::Fd& iommufd, const core::Ioas& ioas) { core::SetVfioIoas(iommufd, ioas.id()); }

}  // namespace

void InitIommufdOptions(Napi::Env env, Napi::Object exports) {
  Export<core::Ioas::Adopt>(env, exports, "ioasAdopt");
  Export<&core::Ioas::AllowIovas>(env, exports, "ioasAllowIovas");
  Export<&core::Ioas::HugePages>(env, exports, "ioasHugePages");
  Export<&core::Ioas::SetHugePages>(env, exports, "ioasSetHugePages");
  Export<&core::Ioas::NoIommuGetPhysical>(env, exports, "ioasPhysical");
  Export<IommufdRlimitMode>(env, exports, "iommufdRlimitMode");
  Export<IommufdSetRlimitMode>(env, exports, "iommufdSetRlimitMode");
  Export<core::ChangeProcess>(env, exports, "iommufdChangeProcess");
  Export<core::VfioIoas>(env, exports, "iommufdVfioIoas");
  Export<IommufdSetVfioIoas>(env, exports, "iommufdSetVfioIoas");
  Export<core::ClearVfioIoas>(env, exports, "iommufdClearVfioIoas");
}

}  // namespace binding
