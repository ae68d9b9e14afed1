// As older_glibc.cc, for functions of which the preload library has definitions of its own: only for the addon.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>

#include "prebuilt/forward.h"

// NOLINTBEGIN(bugprone-macro-parentheses)
extern "C" {

FORWARD(int, pthread_sigmask, BASE, (int how, const sigset_t* set, sigset_t* old), (how, set, old))

// Before 2.33, stat() and the like were inline functions. On 64-bit systems glibc's structure is the kernel's.
#define STAT(name, parameters, ...)             \
  HIDDEN int Call_##name parameters asm(#name); \
  int Call_##name parameters { return static_cast<int>(syscall(__VA_ARGS__)); }

STAT(stat, (const char* path, void* result), SYS_newfstatat, AT_FDCWD, path, result, 0)
STAT(stat64, (const char* path, void* result), SYS_newfstatat, AT_FDCWD, path, result, 0)
STAT(lstat, (const char* path, void* result), SYS_newfstatat, AT_FDCWD, path, result, AT_SYMLINK_NOFOLLOW)
STAT(lstat64, (const char* path, void* result), SYS_newfstatat, AT_FDCWD, path, result, AT_SYMLINK_NOFOLLOW)
STAT(fstat, (int fd, void* result), SYS_fstat, fd, result)
STAT(fstat64, (int fd, void* result), SYS_fstat, fd, result)
STAT(fstatat, (int fd, const char* path, void* result, int flags), SYS_newfstatat, fd, path, result, flags)
STAT(fstatat64, (int fd, const char* path, void* result, int flags), SYS_newfstatat, fd, path, result, flags)

}  // extern "C"
// NOLINTEND(bugprone-macro-parentheses)
