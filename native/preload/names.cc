// Finds the C library's functions, and defines the twins.
#include "preload/names.h"

#include <dlfcn.h>

namespace preload {

const Real& TheReal() {
  static const Real kReal = {
#define NAME(result, name, parameters, arguments) \
  .name = reinterpret_cast<decltype(&Run_##name)>(dlsym(RTLD_NEXT, #name)),
#define TWIN(result, twin, name, parameters, arguments)
#include "preload/names.inc"
#undef NAME
#undef TWIN
  };
  return kReal;
}

#define NAME(result, name, parameters, arguments)
#define TWIN(result, twin, name, parameters, arguments) \
  result Run_##twin parameters { return static_cast<result>(Run_##name arguments); }
#include "preload/names.inc"
#undef NAME
#undef TWIN

}  // namespace preload
