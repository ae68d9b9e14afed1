// Functions of newer C libraries for the prebuilt binaries, which run with glibc 2.31 and newer.
//
// A binary needs the symbol versions of the C library that it is linked with. For functions that glibc moved or added
// after 2.31, this file has definitions that need older versions only. The linker prefers them, for the objects of
// libstdc++.a, too. scripts/prebuild.ts checks the result.
#include <fcntl.h>
#include <pthread.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>

#ifdef __x86_64__
#define BASE "GLIBC_2.2.5"  // the oldest version of this architecture
#elif defined(__aarch64__)
#define BASE "GLIBC_2.17"
#endif

#define HIDDEN [[gnu::visibility("hidden")]]

// Defines `name`, which calls the same function of glibc by its version before 2.34, when libpthread became a part of
// libc. glibc keeps that version.
#define FORWARD(result, name, version, parameters, arguments) \
  result Older_##name parameters;                             \
  asm(".symver Older_" #name ", " #name "@" version);         \
  HIDDEN result Forward_##name parameters asm(#name);         \
  result Forward_##name parameters { return Older_##name arguments; }

// NOLINTBEGIN(bugprone-macro-parentheses)
extern "C" {

FORWARD(int, pthread_create, BASE,
        (pthread_t * thread, const pthread_attr_t* attributes, void* (*start)(void*), void* argument),
        (thread, attributes, start, argument))
FORWARD(int, pthread_detach, BASE, (pthread_t thread), (thread))
FORWARD(int, pthread_join, BASE, (pthread_t thread, void** result), (thread, result))
FORWARD(int, pthread_once, BASE, (pthread_once_t * control, void (*function)()), (control, function))
FORWARD(int, pthread_sigmask, BASE, (int how, const sigset_t* set, sigset_t* old), (how, set, old))
FORWARD(int, pthread_attr_setstacksize, BASE, (pthread_attr_t * attributes, std::size_t size), (attributes, size))
FORWARD(int, pthread_cond_clockwait, "GLIBC_2.30",
        (pthread_cond_t * condition, pthread_mutex_t* mutex, clockid_t clock, const timespec* time),
        (condition, mutex, clock, time))
FORWARD(int, pthread_key_create, BASE, (pthread_key_t * key, void (*destructor)(void*)), (key, destructor))
FORWARD(int, __pthread_key_create, BASE, (pthread_key_t * key, void (*destructor)(void*)), (key, destructor))
FORWARD(int, pthread_key_delete, BASE, (pthread_key_t key), (key))
FORWARD(void*, pthread_getspecific, BASE, (pthread_key_t key), (key))
FORWARD(int, pthread_setspecific, BASE, (pthread_key_t key, const void* value), (key, value))

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

// Whether libstdc++ may count references without atomic instructions: never here.
HIDDEN char single_threaded asm("__libc_single_threaded") = 0;

// Random numbers for std::random_device.
HIDDEN uint32_t Random() asm("arc4random");
uint32_t Random() {
  uint32_t result = 0;
  if (getentropy(&result, sizeof(result)) != 0) __builtin_trap();
  return result;
}

}  // extern "C"
// NOLINTEND(bugprone-macro-parentheses)
