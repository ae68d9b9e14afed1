// Functions of newer C libraries for the prebuilt binaries, which run with glibc 2.31 and newer.
//
// A binary needs the symbol versions of the C library that it is linked with. For functions that glibc moved or added
// after 2.31, this file has definitions that need older versions only. The linker prefers them, for the objects of
// libstdc++.a, too. scripts/prebuild.ts checks the result.
#include <dlfcn.h>
#include <pthread.h>
#include <sys/random.h>
#include <unistd.h>

#include <cstdint>

#include "prebuilt/forward.h"

// NOLINTBEGIN(bugprone-macro-parentheses)
extern "C" {

FORWARD(void*, dlsym, BASE, (void* library, const char* name), (library, name))
FORWARD(int, dladdr, BASE, (const void* address, Dl_info* result), (address, result))
FORWARD(int, pthread_create, BASE,
        (pthread_t * thread, const pthread_attr_t* attributes, void* (*start)(void*), void* argument),
        (thread, attributes, start, argument))
FORWARD(int, pthread_detach, BASE, (pthread_t thread), (thread))
FORWARD(int, pthread_join, BASE, (pthread_t thread, void** result), (thread, result))
FORWARD(int, pthread_once, BASE, (pthread_once_t * control, void (*function)()), (control, function))
FORWARD(int, pthread_attr_setstacksize, BASE, (pthread_attr_t * attributes, std::size_t size), (attributes, size))
FORWARD(int, pthread_cond_clockwait, "GLIBC_2.30",
        (pthread_cond_t * condition, pthread_mutex_t* mutex, clockid_t clock, const timespec* time),
        (condition, mutex, clock, time))
FORWARD(int, pthread_key_create, BASE, (pthread_key_t * key, void (*destructor)(void*)), (key, destructor))
FORWARD(int, __pthread_key_create, BASE, (pthread_key_t * key, void (*destructor)(void*)), (key, destructor))
FORWARD(int, pthread_key_delete, BASE, (pthread_key_t key), (key))
FORWARD(void*, pthread_getspecific, BASE, (pthread_key_t key), (key))
FORWARD(int, pthread_setspecific, BASE, (pthread_key_t key, const void* value), (key, value))

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
