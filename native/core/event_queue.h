// Objects of an iommufd that report events through their own fd.
#pragma once

#include <memory>

#include "core/iommufd_object.h"

namespace core {

class EventQueue : public IommufdObject {
 public:
  // Its file; reading it never blocks. The object cannot be destroyed while the file is open.
  const std::shared_ptr<Fd>& file() const { return file_; }
  void Destroy() override;

 protected:
  EventQueue(const std::shared_ptr<Fd>& iommufd, uint32_t id, uint32_t fd, Parents parents = {});

 private:
  std::shared_ptr<Fd> file_;  // nullptr: destroyed
};

// The queue of page requests of the devices attached to HWPTs that use it.
class FaultQueue : public EventQueue {
 public:
  static std::shared_ptr<FaultQueue> Allocate(const std::shared_ptr<Fd>& iommufd);

 private:
  using EventQueue::EventQueue;
};

}  // namespace core
