// The fds that event loops watch in place of the fake kernel's files (Kernel::WatchFd()).
#pragma once

namespace preload {

// To be called when the program closes an fd, of a file or of an epoll instance.
void ForgetWatches(int fd);
// fork(2) is called between these.
void LockWatches();
void UnlockWatches();

}  // namespace preload
