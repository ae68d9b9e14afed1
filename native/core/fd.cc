#include "core/fd.h"

#include <sys/eventfd.h>

namespace core {

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

Identity Fd::Identify() const {
  struct stat info = {};
  Check(kernel_->Fstat(number_, &info), "fstat");
  return {info.st_dev, info.st_ino};
}

std::string Fd::Path() const {
  std::string path(4096, '\0');
  path.resize(static_cast<std::size_t>(Check(kernel_->FdPath(number_, path.data(), path.size()), "readlink")));
  return path;
}

}  // namespace core
