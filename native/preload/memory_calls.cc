// mmap(2) and its relatives for the files of the fake kernel.
#include <sys/mman.h>

#include <cerrno>

#include "kernel/page_size.h"
#include "preload/faults.h"
#include "preload/names.h"
#include "preload/registers/trap_table.h"
#include "preload/world.h"

namespace preload {
namespace {

std::size_t WholePages(std::size_t length) {
  const uint64_t page = kernel::PageSize();
  return (length + page - 1) / page * page;
}

uintptr_t ToNumber(const void* address) { return reinterpret_cast<uintptr_t>(address); }

// Removes mappings of the fake kernel's files that are no longer in the range.
bool Forget(const void* address, std::size_t length) {
  const kernel::OwnCalls own;
  return TrapTable::Get().Remove(ToNumber(address), WholePages(length));
}

}  // namespace

void* Run_mmap64(void* address, std::size_t length, int protection, int flags, int fd, off_t offset) {
  if (!IsOwnCall() && (flags & MAP_ANONYMOUS) == 0) {
    if (FakeCall fake(fd); fake) {
      kernel::MappedPages pages = {.address = address, .trap = nullptr, .hold = nullptr};
      const int result = fake->Mmap(length, protection, flags, fd, static_cast<uint64_t>(offset), &pages);
      if (result < 0) return reinterpret_cast<void*>(static_cast<intptr_t>(fake.Return(result)));
      if (pages.trap) CatchFaults();
      address = pages.address;
      TrapTable::Get().Add(ToNumber(address), WholePages(length), std::move(pages));
      return address;
    }
  }
  void* result = TheReal().mmap64(address, length, protection, flags, fd, offset);
  const bool replaces = (flags & MAP_FIXED) != 0 && result != MAP_FAILED;
  if (replaces && !IsOwnCall() && KernelIfAny()) Forget(result, length);
  return result;
}

int Run_munmap(void* address, std::size_t length) {
  auto* kernel = IsOwnCall() ? nullptr : KernelIfAny();
  if (!kernel || !Forget(address, length)) return TheReal().munmap(address, length);
  const int saved = errno;
  const kernel::OwnCalls own;
  const int result = kernel->Munmap(address, length);
  errno = result < 0 ? -result : saved;
  return result < 0 ? -1 : 0;
}

int Run_mprotect(void* address, std::size_t length, int protection) {
  // Registers stay without access, so that each access faults.
  if (!IsOwnCall() && KernelIfAny() && TrapTable::Get().HasTrap(ToNumber(address), length)) return 0;
  return TheReal().mprotect(address, length, protection);
}

}  // namespace preload
