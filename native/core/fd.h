// An fd that closes itself, and the kernel it belongs to. Whoever uses the fd, on any thread, holds a shared_ptr: the
// number cannot be closed, and so cannot be given to another file, while a call is under way.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "core/failure.h"
#include "core/trace.h"
#include "kernel/kernel.h"
#include "uapi/ioctl.h"

namespace core {

// A character device's number; none: the file is no character device.
struct DeviceNumber {
  unsigned major;
  unsigned minor;
};

struct Identity {
  uint64_t device;
  uint64_t inode;
};

class Fd {
 public:
  Fd(std::shared_ptr<kernel::Kernel> kernel, int number) : kernel_(std::move(kernel)), number_(number) {}
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd();

  // Another process sent it, or can send files into its queue: its close may wait, and runs on a thread for that.
  void SetForeign() { foreign_ = true; }
  bool foreign() const { return foreign_; }

  static std::shared_ptr<Fd> Open(std::shared_ptr<kernel::Kernel> kernel, const char* path, int flags);
  // An eventfd that does not block.
  static std::shared_ptr<Fd> Eventfd(std::shared_ptr<kernel::Kernel> kernel, unsigned count);
  // A duplicate of an fd that this object does not own.
  static std::shared_ptr<Fd> Duplicate(std::shared_ptr<kernel::Kernel> kernel, int number);

  // `name` is the request's name in the kernel's headers, for errors and traces. Every ioctl of core is one of these
  // two: Ioctl() throws a Failure, Ask() returns the negated errno.
  int Ioctl(uapi::request_t request, const char* name, void* argument) const {
    return Check(Ask(request, name, argument), "ioctl", name);
  }
  int Ask(uapi::request_t request, const char* name, void* argument) const {
    if (Trace::Any()) [[unlikely]]
      return AskWatched(request, name, argument);
    return kernel_->Ioctl(number_, request, argument);
  }
  // Returns the number of bytes moved, which may be smaller than `size`.
  std::size_t Read(void* buffer, std::size_t size) const {
    return static_cast<std::size_t>(Check(kernel_->Read(number_, buffer, size), "read"));
  }
  std::size_t Write(const void* buffer, std::size_t size) const {
    return static_cast<std::size_t>(Check(kernel_->Write(number_, buffer, size), "write"));
  }
  Identity Identify() const;
  std::optional<DeviceNumber> Device() const;
  std::string Path() const;  // what it is open on: '/dev/vfio/devices/vfio0'

  int number() const { return number_; }
  const std::shared_ptr<kernel::Kernel>& kernel() const { return kernel_; }

 private:
  int AskWatched(uapi::request_t request, const char* name, void* argument) const;

  std::shared_ptr<kernel::Kernel> kernel_;
  int number_;
  std::atomic<bool> foreign_ = false;
};

// An fd that is foreign.
std::shared_ptr<Fd> ForeignFd(std::shared_ptr<kernel::Kernel> kernel, int number);

}  // namespace core

// Expands to a request's code and its name.
#define VFIO_DMABUF_REQUEST(name) uapi::name, #name
