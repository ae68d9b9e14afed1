// A file of the fake kernel. Results are >= 0 or a negated errno, as those of the kernel's file operations. The caller
// must hold the fake kernel's lock.
#pragma once

#include <poll.h>
#include <sys/types.h>

#include <cerrno>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "kernel/kernel.h"
#include "kernel/non_copyable.h"
#include "uapi/ioctl.h"

namespace fake {

class BarMappings;
class EventfdAction;
class FenceHub;

class File : private kernel::NonCopyable {
 public:
  virtual ~File() = default;  // called after the last fd was closed

  virtual int Ioctl(uapi::request_t, void*) { return -ENOTTY; }
  virtual int64_t Pread(void*, std::size_t, uint64_t) { return -EINVAL; }
  virtual int64_t Pwrite(const void*, std::size_t, uint64_t) { return -EINVAL; }
  virtual int64_t Read(void*, std::size_t) { return -EINVAL; }
  virtual int64_t Write(const void*, std::size_t) { return -EINVAL; }
  virtual int64_t Lseek(int64_t, int) { return -ESPIPE; }
  // As in the kernel, a file without a poll operation is always ready and cannot be watched.
  virtual int Poll(int events) { return events & (POLLIN | POLLOUT); }
  virtual int WatchFd(int*) { return -EPERM; }
  virtual int64_t FilesystemMagic() { return 0x09041934; }  // ANON_INODE_FS_MAGIC
  virtual std::string Fdinfo(int /* fds that are open on it */) { return ""; }
  virtual std::string Path() { return "anon_inode:[fake]"; }
  virtual dev_t DeviceNumber() { return 0; }  // of a character device (device_numbers.h); 0 for any other file
  virtual int Mmap(std::size_t, int, int, uint64_t, kernel::MappedPages*) { return -ENODEV; }
};

// The services of the fake kernel for its files: it creates an fd for a file, finds an fd's file, and runs actions of
// eventfds.
class FileTable {
 public:
  virtual ~FileTable() = default;
  virtual int Install(std::shared_ptr<File> file, const char* name) = 0;  // returns the fd or a negated errno
  // As Install(), for a memfd that has the file's content. It must not be used any more.
  virtual int InstallAs(int memfd, std::shared_ptr<File> file) = 0;
  virtual std::shared_ptr<File> Find(int fd) = 0;  // nullptr: not a file of the fake kernel
  virtual BarMappings& bar_mappings() = 0;
  // Calls `act` when the eventfd `fd` is signaled, as long as `*out` exists. Returns 0 or a negated errno.
  virtual int OnSignal(int fd, std::function<void()> act, std::shared_ptr<EventfdAction>* out) = 0;
  virtual FenceHub& fence_hub() = 0;
};

}  // namespace fake
