// Unwraps handles of an iommufd's objects.
#include "binding/iommufd_object.h"

namespace binding {

std::shared_ptr<core::IommufdObject> UnwrapPageTable(const Napi::Value& value) {
  if (IsHandleOf<core::Hwpt>(value)) return Unwrap<core::Hwpt>(value);
  return Unwrap<core::Ioas>(value);
}

}  // namespace binding
