// A numbered object of an iommufd, destroyed with this one.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "core/fd.h"
#include "kernel/non_copyable.h"
#include "uapi/iommufd.h"

namespace core {

class IommufdObject : private kernel::NonCopyable {
 public:
  // The objects that this one uses; they must outlive it in the kernel.
  using Parents = std::vector<std::shared_ptr<const IommufdObject>>;

  virtual ~IommufdObject();

  // EBUSY while other objects use it: then nothing changes. Destroying twice is no error.
  virtual void Destroy();
  // Destroys an object that this process has no IommufdObject for.
  static void Destroy(const Fd& iommufd, uint32_t id);

  uint32_t id() const { return id_; }
  const std::shared_ptr<Fd>& iommufd() const { return iommufd_; }

 protected:
  IommufdObject(std::shared_ptr<Fd> iommufd, uint32_t id, Parents parents = {})
      : iommufd_(std::move(iommufd)), parents_(std::move(parents)), id_(id) {}

 private:
  std::shared_ptr<Fd> iommufd_;
  Parents parents_;
  uint32_t id_;  // 0: destroyed
};

}  // namespace core
