// Fault queues: page requests that user space reads and responds to. The rules are those of
// drivers/iommu/iommufd/eventq.c.
#pragma once

#include <deque>
#include <map>
#include <memory>

#include "fake/files/readiness.h"
#include "fake/iommufd/iommufd_object.h"
#include "uapi/iommufd.h"

namespace fake {

class FaultQueue : public IommufdObject {
 public:
  // A group of requests; the mock device sends one request in each group.
  struct Group {
    uint32_t device;
    uint32_t attached_pasid;  // the PASID of the attachment that the request came through
    uapi::iommu_hwpt_pgfault request;
  };
  static constexpr bool kWritable = true;
  static constexpr const char* kPath = "anon_inode:[iommufd-pgfault]";

  void Add(const Group& group);
  // The device is detached: its requests need no response any more.
  void Drop(uint32_t device, uint32_t attached_pasid);

  int64_t Read(void* buffer, std::size_t size);
  int64_t Write(const void* buffer, std::size_t size);
  bool waiting() const { return !deliver_.empty(); }

  Readiness readiness;

 private:
  std::deque<Group> deliver_;
  std::map<uint32_t, Group> unanswered_;  // by cookie
};

}  // namespace fake
