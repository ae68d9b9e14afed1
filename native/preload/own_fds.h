// The fds that this library has for itself. They have high numbers, which programs do not use, and the program cannot
// close them.
#pragma once

namespace preload {

// Moves a new fd to a high number, if one is free. Returns its number. A negative fd stays what it is.
int KeepOwnFd(int fd);
// Takes note of the fd that this process has inherited.
void AdoptOwnFd(int fd);
// Moves an own fd to the lowest free number: it is the program's now. Returns its number, or a negated errno.
int GiveOwnFd(int fd);
bool IsOwnFd(int fd);
void ForgetOwnFd(int fd);

}  // namespace preload
