// A library for LD_PRELOAD: QEMU's virtio-gpu starts with blob=on only if it can open /dev/udmabuf, which it uses for
// scanouts. The tests have none. /dev/null stands in for it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/types.h>

static int call(const char* name, const char* path, int flags, mode_t mode) {
  int (*next)(const char*, int, ...) = (int (*)(const char*, int, ...))dlsym(RTLD_NEXT, name);
  return next(strcmp(path, "/dev/udmabuf") == 0 ? "/dev/null" : path, flags, mode);
}

#define DEFINE(name)                           \
  int name(const char* path, int flags, ...) { \
    va_list more;                              \
    va_start(more, flags);                     \
    const mode_t mode = va_arg(more, mode_t);  \
    va_end(more);                              \
    return call(#name, path, flags, mode);     \
  }

DEFINE(open)
DEFINE(open64)
