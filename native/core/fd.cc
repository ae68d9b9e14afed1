// Opening fds, and the ioctls of a traced environment.
#include "core/fd.h"

#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <ctime>

#include "core/side_threads.h"
#include "kernel/mutex.h"

namespace core {

Fd::~Fd() {
  if (foreign_) {
    SideThreads::Get().Run([kernel = std::move(kernel_), number = number_] { kernel->Close(number); });
  } else {
    kernel_->Close(number_);
  }
}

std::shared_ptr<Fd> ForeignFd(std::shared_ptr<kernel::Kernel> kernel, int number) {
  auto fd = std::make_shared<Fd>(std::move(kernel), number);
  fd->SetForeign();
  return fd;
}

std::shared_ptr<Fd> Fd::Open(std::shared_ptr<kernel::Kernel> kernel, const char* path, int flags) {
  const int number = Check(kernel->Open(path, flags), "open");
  return std::make_shared<Fd>(std::move(kernel), number);
}

std::shared_ptr<Fd> Fd::Eventfd(std::shared_ptr<kernel::Kernel> kernel, unsigned count) {
  const int number = Check(kernel->Eventfd(count, EFD_NONBLOCK), "eventfd");
  return std::make_shared<Fd>(std::move(kernel), number);
}

std::shared_ptr<Fd> Fd::Duplicate(std::shared_ptr<kernel::Kernel> kernel, int number) {
  const int copy = Check(kernel->Dup(number), "fcntl");
  return std::make_shared<Fd>(std::move(kernel), copy);
}

int Fd::AskWatched(uapi::request_t request, const char* name, void* argument) const {
  const auto trace = Trace::Current();
  if (!trace) return kernel_->Ioctl(number_, request, argument);
  const auto now = [] {
    struct timespec time = {};
    clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
  };
  const uint64_t start = now();
  const int result = kernel_->Ioctl(number_, request, argument);
  const uint64_t duration = now() - start;
  std::string file(256, '\0');
  file.resize(static_cast<std::size_t>(std::max<int64_t>(0, kernel_->FdPath(number_, file.data(), file.size()))));
  trace->Add({name, number_, std::move(file), result, start, duration});
  return result;
}

Identity Fd::Identify() const {
  if (!identified_.load(std::memory_order_acquire)) {
    struct stat info = {};
    Check(kernel_->Fstat(number_, &info), "fstat");
    static kernel::Mutex setting;
    const kernel::Lock lock(setting);
    if (!identified_) identity_ = {info.st_dev, info.st_ino};
    identified_ = true;
  }
  return identity_;
}

std::optional<DeviceNumber> Fd::Device() const {
  struct stat info = {};
  Check(kernel_->Fstat(number_, &info), "fstat");
  if (!S_ISCHR(info.st_mode)) return std::nullopt;
  return DeviceNumber{major(info.st_rdev), minor(info.st_rdev)};
}

std::string Fd::Path() const {
  std::string path(4096, '\0');
  path.resize(static_cast<std::size_t>(Check(kernel_->FdPath(number_, path.data(), path.size()), "readlink")));
  return path;
}

}  // namespace core
