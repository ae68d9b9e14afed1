// A numbered object of an iommufd, destroyed with this one.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "core/fd.h"
#include "uapi/iommufd.h"

namespace core {

class IommufdObject {
 public:
  // What the object is built on; it outlives the object, as the kernel wants it to.
  using Parents = std::vector<std::shared_ptr<const IommufdObject>>;

  IommufdObject(const IommufdObject&) = delete;
  IommufdObject& operator=(const IommufdObject&) = delete;
  virtual ~IommufdObject();

  // EBUSY while others use it; then the object stays as it was. Again is no error.
  virtual void Destroy();
  // By its number, an object that is nobody's here.
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
