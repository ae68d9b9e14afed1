// Creates mappings, unmaps them, and replaces their pages by zero pages.
#include "core/mapping.h"

#include <sys/mman.h>

namespace core {

Mapping::Mapping(std::shared_ptr<Fd> fd, uint64_t offset, std::size_t length, int protection,
                 std::shared_ptr<const std::atomic<bool>> enabled)
    : kernel_(fd->kernel()),
      fd_(std::move(fd)),
      enabled_(std::move(enabled)),
      length_(length),
      writable_((protection & PROT_WRITE) != 0) {
  if (enabled_) CatchBusErrors();
  Check(kernel_->Mmap(length, protection, MAP_SHARED, fd_->number(), offset, &pages_), "mmap");
}

Mapping::~Mapping() {
  if (zero_range_ && kernel_) RemoveZeroRange(zero_range_);
  if (kernel_) kernel_->Munmap(pages_.address, length_);
}

void Mapping::ZeroOnBusError() {
  CatchBusErrors();
  zero_range_ = AddZeroRange(pages_.address, length_);
}

void Mapping::Retire() {
  if (retired()) return;
  pages_.trap.reset();
  pages_.hold.reset();
  fd_.reset();
  // This call bypasses the Kernel, because the range is this process's memory. If mmap(2) fails for lack of memory, the
  // old pages stay mapped, so that an access still cannot fault.
  const int protection = PROT_READ | PROT_WRITE;
  [[maybe_unused]] const void* zeros =
      mmap(pages_.address, length_, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

void Mapping::Abandon() {
  Retire();
  kernel_.reset();
}

}  // namespace core
