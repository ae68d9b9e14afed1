// The type tags of handles.
#include "binding/handle.h"

#include <sys/random.h>

#include <cerrno>

namespace binding {

napi_type_tag NewTypeTag() {
  napi_type_tag tag = {};
  if (getrandom(&tag, sizeof(tag), 0) != sizeof(tag)) throw core::Failure{errno, "getrandom", nullptr};
  return tag;
}

}  // namespace binding
