// Macros for definitions that call an older version of the C library's function.
#pragma once

#ifdef __x86_64__
#define BASE "GLIBC_2.2.5"  // the oldest version of this architecture
#elif defined(__aarch64__)
#define BASE "GLIBC_2.17"
#endif

#define HIDDEN [[gnu::visibility("hidden")]]

// Defines `name`, which calls the same function of glibc by its version before 2.34, when libpthread and libdl became
// parts of libc. glibc keeps that version.
#define FORWARD(result, name, version, parameters, arguments) \
  result Older_##name parameters;                             \
  asm(".symver Older_" #name ", " #name "@" version);         \
  HIDDEN result Forward_##name parameters asm(#name);         \
  result Forward_##name parameters { return Older_##name arguments; }
