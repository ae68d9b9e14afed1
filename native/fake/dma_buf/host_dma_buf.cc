// /dev/udmabuf, the system dma-heap, and CPU mappings of their dma-bufs.
#include "fake/dma_buf/host_dma_buf.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "fake/files/user_memory.h"
#include "kernel/page_size.h"
#include "uapi/dma_heap.h"

namespace fake {
namespace {

const uint64_t kPageSize = kernel::PageSize();
constexpr uint32_t kListLimit = 1024;                 // the driver's list_limit
constexpr uint64_t kSizeLimit = 0x7fffffffULL << 20;  // and its size_limit_mb

}  // namespace

HostPages::~HostPages() {
  for (const auto& [address, size] : pieces_) munmap(address, size);
}

int HostPages::Add(int memfd, uint64_t offset, uint64_t size) {
  const int protection = PROT_READ | PROT_WRITE;
  void* address = mmap(nullptr, size, protection, MAP_SHARED, memfd, static_cast<off_t>(offset));
  if (address == MAP_FAILED) return -errno;
  pieces_.push_back({static_cast<char*>(address), size});
  size_ += size;
  return 0;
}

int HostPages::Map(uint64_t offset, std::size_t length, int protection, int flags, void** address) const {
  const int placed = flags & kernel::kPlacement;
  void* reserved = mmap(*address, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | placed, -1, 0);
  if (reserved == MAP_FAILED) return -errno;
  char* to = static_cast<char*>(reserved);
  std::size_t left = length;
  for (const auto& [start, size] : pieces_) {
    if (left == 0) break;
    if (offset >= size) {
      offset -= size;
      continue;
    }
    const std::size_t count = std::min<uint64_t>(left, size - offset);
    // mremap from length 0 makes a second mapping and keeps the first.
    if (mremap(start + offset, 0, count, MREMAP_MAYMOVE | MREMAP_FIXED, to) == MAP_FAILED ||
        mprotect(to, count, protection) != 0) {
      const int error = -errno;
      munmap(reserved, length);
      return error;
    }
    to += count;
    left -= count;
    offset = 0;
  }
  *address = reserved;
  return 0;
}

int HostDmaBuf::Mmap(std::size_t length, int protection, int flags, uint64_t offset, kernel::MappedPages* out) {
  if (offset % kPageSize != 0 || length == 0) return -EINVAL;
  const bool stores = (protection & PROT_WRITE) != 0 && (flags & MAP_SHARED) != 0;
  if (access_ == O_WRONLY || (access_ == O_RDONLY && stores)) return -EACCES;
  const uint64_t rounded = (length + kPageSize - 1) / kPageSize * kPageSize;
  if (offset > size() || rounded > size() - offset) return -EINVAL;
  const int result = pages_->Map(offset, rounded, protection, flags, &out->address);
  if (result == 0) out->hold = NoteMapping();
  return result;
}

Udmabuf::Udmabuf(FileTable& table, std::unique_ptr<HostPages> pages)
    : HostDmaBuf(table, std::move(pages), "udmabuf", O_RDWR) {}

int Udmabuf::Mmap(std::size_t length, int protection, int flags, uint64_t offset, kernel::MappedPages* out) {
  if ((flags & MAP_SHARED) == 0) return -EINVAL;
  return HostDmaBuf::Mmap(length, protection, flags, offset, out);
}

int Udmabuf::BeginCpuAccess() {
  mapped_for_cpu_ = true;
  return 0;
}

int Udmabuf::EndCpuAccess() { return mapped_for_cpu_ ? 0 : -EINVAL; }

int UdmabufDriver::Ioctl(uapi::request_t request, void* argument) {
  if (request == uapi::UDMABUF_CREATE) {
    const auto& command = *static_cast<uapi::udmabuf_create*>(argument);
    const uapi::udmabuf_create_item item = {.memfd = command.memfd, .offset = command.offset, .size = command.size};
    return Create(&item, 1);
  }
  if (request == uapi::UDMABUF_CREATE_LIST) {
    const auto* command = static_cast<uapi::udmabuf_create_list*>(argument);
    if (command->count > kListLimit) return -EINVAL;
    const auto items = CopyArrayFromUser<uapi::udmabuf_create_item>(command + 1, command->count);
    return items ? Create(items->data(), command->count) : -EFAULT;
  }
  return -ENOTTY;
}

int UdmabufDriver::Create(const uapi::udmabuf_create_item* items, uint32_t count) {
  uint64_t total = 0;
  for (uint32_t i = 0; i < count; ++i) {
    if ((items[i].offset | items[i].size) % kPageSize != 0) return -EINVAL;
    if (items[i].size > kSizeLimit - total) return -EINVAL;
    total += items[i].size;
  }
  if (total == 0) return -EINVAL;
  auto pages = std::make_unique<HostPages>();
  for (uint32_t i = 0; i < count; ++i) {
    const int memfd = static_cast<int>(items[i].memfd);
    const int seals = fcntl(memfd, F_GET_SEALS);
    if (seals < 0 || table_.Find(memfd)) return -EBADFD;
    if ((seals & F_SEAL_SHRINK) == 0 || (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0) return -EINVAL;
    struct stat info = {};
    fstat(memfd, &info);
    const auto end = static_cast<uint64_t>(info.st_size);
    const auto& [_, pad, offset, size] = items[i];
    if (size == 0 || offset > end || size > end - offset) return -EINVAL;
    if (const int result = pages->Add(memfd, offset, size); result < 0) return result;
  }
  return table_.Install(std::make_shared<Udmabuf>(table_, std::move(pages)), "udmabuf");
}

int SystemHeap::Ioctl(uapi::request_t request, void* argument) {
  // Linux also takes sizes other than this one for number 0; here they are refused like any other request.
  if (request != uapi::DMA_HEAP_IOCTL_ALLOC) return -EINVAL;
  auto& command = *static_cast<uapi::dma_heap_allocation_data*>(argument);
  const bool bad_flags = (command.fd_flags & ~static_cast<unsigned>(O_CLOEXEC | O_ACCMODE)) != 0 ||
                         (command.heap_flags & ~uapi::DMA_HEAP_VALID_HEAP_FLAGS) != 0;
  const uint64_t length = (command.len + kPageSize - 1) / kPageSize * kPageSize;
  if (command.fd != 0 || bad_flags || length == 0 || length < command.len) return -EINVAL;
  const int fd = memfd_create("fake-kernel:heap-dmabuf", MFD_CLOEXEC);
  if (fd < 0) return -errno;
  auto pages = std::make_unique<HostPages>();
  int result = ftruncate(fd, static_cast<off_t>(length)) < 0 ? -errno : 0;
  // Mapped by another open of the memfd: a mapping keeps what it was made by open, and the buffer would never be
  // closed.
  const int own = result < 0 ? -1 : open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDWR | O_CLOEXEC);
  if (result == 0) result = own < 0 ? -errno : pages->Add(own, 0, length);
  if (own >= 0) close(own);
  if (result < 0) {
    close(fd);
    return result == -EINVAL || result == -EFBIG ? -ENOMEM : result;
  }
  const int access = static_cast<int>(command.fd_flags) & O_ACCMODE;
  const int given = table_.InstallAs(fd, std::make_shared<HostDmaBuf>(table_, std::move(pages), "system", access));
  if (given < 0) return given;
  command.fd = static_cast<uint32_t>(given);
  return 0;
}

}  // namespace fake
