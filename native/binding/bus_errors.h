// Keeps core/bus_error.h's SIGBUS handler installed when other code in the process handles the signal, too.
#pragma once

#include <napi.h>

namespace binding {

// Keeps the handler for the rest of the process. The first call creates a thread and some fds; later calls do nothing.
// Throws core::Failure.
void HoldBusErrors();

// Keeps the handler for this environment and for the process. Call it before you map pages whose file can lose them.
void KeepBusErrors(Napi::Env env);

}  // namespace binding
