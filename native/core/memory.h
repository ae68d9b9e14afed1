// Host memory for DMA: a memfd with F_SEAL_SHRINK, so that no mapping of it can lose its pages.
#pragma once

#include <memory>

#include "core/mapping.h"

namespace core {

struct Memory {
  std::shared_ptr<Fd> fd;
  std::shared_ptr<Mapping> mapping;

  // `huge_page_log2`: 0 for ordinary pages, or the huge page's size as a power of two (21, 30). `size` is a multiple
  // of the page size. Ordinary pages are allocated when touched; huge pages are reserved at once (ENOMEM).
  static Memory Allocate(const std::shared_ptr<kernel::Kernel>& kernel, std::size_t size, unsigned huge_page_log2);
};

// The seals of a memfd: fcntl(2)'s F_SEAL_…
int GetSeals(const Fd& memfd);
void AddSeals(const Fd& memfd, int seals);

}  // namespace core
