// SIGSEGV, by which accesses to registers become calls.
#pragma once

namespace preload {

// Handles SIGSEGV from now on. The program's own handler gets all faults that are not accesses to registers.
void CatchFaults();
// fork(2) is called between these.
void LockFaults();
void UnlockFaults();

}  // namespace preload
