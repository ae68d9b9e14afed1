// Keeps SIGBUS with core/bus_error.h's handler, whatever else in the process asks for the signal.
#pragma once

#include <napi.h>

namespace binding {

// From now on, for the process: takes a thread and some fds, once. Throws core::Failure.
void HoldBusErrors();

// From now on, for this environment and for the process. To be called before pages are mapped that an access may find
// taken away.
void KeepBusErrors(Napi::Env env);

}  // namespace binding
