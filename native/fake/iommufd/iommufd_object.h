// The numbered objects of an iommufd, and their use of each other.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "kernel/non_copyable.h"

namespace fake {

class Iommufd;

class IommufdObject : private kernel::NonCopyable {
 public:
  virtual ~IommufdObject() = default;

  // Called after its removal from the table, before its destruction.
  virtual void Leave(Iommufd&) {}

  uint32_t id = 0;
  unsigned users = 0;  // objects that use it: IOMMU_DESTROY fails with EBUSY
};

// One object's use of another.
template <typename T>
class Use {
 public:
  Use() = default;
  explicit Use(std::shared_ptr<T> object) : object_(std::move(object)) {
    if (object_) ++object_->users;
  }
  Use(Use&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  Use& operator=(Use&& other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  ~Use() {
    if (object_) --object_->users;
  }

  T* operator->() const { return object_.get(); }
  T& operator*() const { return *object_; }
  explicit operator bool() const { return object_ != nullptr; }
  const std::shared_ptr<T>& get() const { return object_; }

 private:
  std::shared_ptr<T> object_;
};

}  // namespace fake
