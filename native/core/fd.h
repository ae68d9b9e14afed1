// An fd that closes itself, and its kernel. A user on any thread keeps a shared_ptr. So the fd stays open during a
// call, and its number cannot be reused for another file.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "core/failure.h"
#include "core/trace.h"
#include "kernel/kernel.h"
#include "kernel/non_copyable.h"
#include "uapi/ioctl.h"

namespace core {

// A character device's number; nullopt: the file is no character device.
struct DeviceNumber {
  unsigned major;
  unsigned minor;
};

struct Identity {
  uint64_t device;
  uint64_t inode;
};

class Fd : private kernel::NonCopyable {
 public:
  Fd(std::shared_ptr<kernel::Kernel> kernel, int number) : kernel_(std::move(kernel)), number_(number) {}
  ~Fd();

  // Marks an fd that another process sent, or whose queue can receive files from other processes. Its close may block,
  // so it runs on another thread.
  void SetForeign() { foreign_ = true; }
  bool foreign() const { return foreign_; }

  static std::shared_ptr<Fd> Open(std::shared_ptr<kernel::Kernel> kernel, const char* path, int flags);
  // Creates an eventfd with O_NONBLOCK.
  static std::shared_ptr<Fd> Eventfd(std::shared_ptr<kernel::Kernel> kernel, unsigned count);
  // Duplicates an fd that this object does not own.
  static std::shared_ptr<Fd> Duplicate(std::shared_ptr<kernel::Kernel> kernel, int number);

  // `name` is the request's name in the kernel's headers, for errors and traces. Every ioctl of core uses one of these
  // two functions: Ioctl() throws a Failure, Ask() returns the negated errno.
  int Ioctl(uapi::request_t request, const char* name, void* argument) const {
    return Check(Ask(request, name, argument), "ioctl", name);
  }
  int Ask(uapi::request_t request, const char* name, void* argument) const {
    if (Trace::Any()) [[unlikely]]
      return AskWatched(request, name, argument);
    return kernel_->Ioctl(number_, request, argument);
  }
  // The same for a struct that begins with its own size, which this function sets. Returns the struct with the answer.
  template <typename Command>
  Command Call(uapi::request_t request, const char* name, Command command) const {
    if constexpr (requires { command.argsz; }) {
      command.argsz = sizeof(command);
    } else {
      command.size = sizeof(command);
    }
    Ioctl(request, name, &command);
    return command;
  }
  // Returns the number of bytes moved, which may be smaller than `size`.
  std::size_t Read(void* buffer, std::size_t size) const {
    return static_cast<std::size_t>(Check(kernel_->Read(number_, buffer, size), "read"));
  }
  std::size_t Write(const void* buffer, std::size_t size) const {
    return static_cast<std::size_t>(Check(kernel_->Write(number_, buffer, size), "write"));
  }
  Identity Identify() const;  // calls fstat(2) once: the file of an owned fd does not change
  std::optional<DeviceNumber> Device() const;
  std::string Path() const;  // the path of the open file: '/dev/vfio/devices/vfio0'

  int number() const { return number_; }
  const std::shared_ptr<kernel::Kernel>& kernel() const { return kernel_; }

 private:
  int AskWatched(uapi::request_t request, const char* name, void* argument) const;

  std::shared_ptr<kernel::Kernel> kernel_;
  int number_;
  std::atomic<bool> foreign_ = false;
  mutable std::atomic<bool> identified_ = false;  // identity_ is set and does not change any more
  mutable Identity identity_ = {};
};

// Wraps an fd and marks it as foreign.
std::shared_ptr<Fd> ForeignFd(std::shared_ptr<kernel::Kernel> kernel, int number);

}  // namespace core

// Expands to a request's code and its name.
#define VFIO_DMABUF_REQUEST(name) uapi::name, #name
