// Declares the replacements of the functions in names.inc, and the C library's own functions. A replacement has the
// symbol of the replaced function and another C++ name, so that the declarations of the C library do not matter.
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <poll.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>

#include <csignal>
#include <cstddef>
#include <cstdio>

namespace preload {

using Filter = int (*)(const struct dirent*);
using Compare = int (*)(const struct dirent**, const struct dirent**);
using GlobError = int (*)(const char*, int);
using SignalHandler = void (*)(int);

#define NAME(result, name, parameters, arguments) \
  extern "C" __attribute__((visibility("default"))) result Run_##name parameters __asm__(#name);
#define TWIN(result, twin, name, parameters, arguments) NAME(result, twin, parameters, arguments)
#include "preload/names.inc"
#undef NAME

// The C library's functions; nullptr: this C library does not have it.
struct Real {
#define NAME(result, name, parameters, arguments) result(*name) parameters;
#undef TWIN
#define TWIN(result, twin, name, parameters, arguments)
#include "preload/names.inc"
#undef NAME
#undef TWIN
};
const Real& TheReal();

}  // namespace preload
