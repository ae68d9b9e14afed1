// What an IOVA can lead to: host memory, a memfd, or a peer's BAR. The fake's DMA moves bytes through these.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace fake {

class Pages {
 public:
  Pages() = default;
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  virtual ~Pages() = default;

  // Pins `length` bytes for a device: 0, or the negated errno with which the mapping fails.
  virtual int Pin(uint64_t offset, uint64_t length, bool writable) const = 0;
  // Whether the pages belong to a file that the mapping holds, and not to a process.
  virtual bool IsFile() const { return false; }
  // False: the bytes are out of reach, which is an IOMMU fault.
  virtual bool Read(uint64_t offset, void* buffer, std::size_t size) const = 0;
  virtual bool Write(uint64_t offset, const void* buffer, std::size_t size) const = 0;
};

// This process's own memory at `address`; offsets count from there. Only shared memory, such as a memfd's, can be
// reached.
std::shared_ptr<Pages> UserPages(uint64_t address, uint64_t length);
// A memfd's pages. The fd is duplicated. nullptr: out of fds.
std::shared_ptr<Pages> FilePages(int fd);

}  // namespace fake
