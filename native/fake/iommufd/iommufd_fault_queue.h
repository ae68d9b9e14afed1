// Fault queues: page requests on their way to user space, and waiting for its responses. The rules are those of
// drivers/iommu/iommufd/eventq.c.
#pragma once

#include <deque>
#include <map>
#include <memory>

#include "fake/files/signal.h"
#include "fake/iommufd/iommufd_object.h"
#include "uapi/iommufd.h"

namespace fake {

class FaultQueue : public IommufdObject {
 public:
  // A group of requests; those of the mock device are alone in theirs.
  struct Group {
    uint32_t device;
    uint32_t attached_pasid;  // what the device is attached with where the request went through
    uapi::iommu_hwpt_pgfault request;
  };
  static constexpr bool kWritable = true;
  static constexpr const char* kPath = "anon_inode:[iommufd-pgfault]";

  void Add(const Group& group);
  // The device is attached there no more: what it asked is answered.
  void Drop(uint32_t device, uint32_t attached_pasid);

  int64_t Read(void* buffer, std::size_t size);
  int64_t Write(const void* buffer, std::size_t size);
  bool waiting() const { return !deliver_.empty(); }

  Signal signal;

 private:
  std::deque<Group> deliver_;
  std::map<uint32_t, Group> unanswered_;  // by cookie
};

}  // namespace fake
