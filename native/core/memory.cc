// Creates a sealed memfd and maps it.
#include "core/memory.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>

namespace core {

Memory Memory::Allocate(const std::shared_ptr<kernel::Kernel>& kernel, std::size_t size, unsigned huge_page_log2) {
  unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  if (huge_page_log2 != 0) flags |= MFD_HUGETLB | (huge_page_log2 << MFD_HUGE_SHIFT);
  Memory memory;
  const int number = Check(kernel->MemfdCreate("vfio-dmabuf", flags), "memfd_create");
  memory.fd = std::make_shared<Fd>(kernel, number);
  Check(kernel->Ftruncate(number, size), "ftruncate");
  Check(kernel->AddSeals(number, F_SEAL_SHRINK), "fcntl");
  memory.mapping = std::make_shared<Mapping>(memory.fd, 0, size, PROT_READ | PROT_WRITE);
  return memory;
}

int GetSeals(const Fd& memfd) { return Check(memfd.kernel()->GetSeals(memfd.number()), "fcntl"); }

void AddSeals(const Fd& memfd, int seals) { Check(memfd.kernel()->AddSeals(memfd.number(), seals), "fcntl"); }

}  // namespace core
