// Virtual IOMMUs, the guest's ids of their devices, and their event queues. The rules are those of
// drivers/iommu/iommufd/viommu.c and eventq.c.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "fake/files/readiness.h"
#include "fake/iommufd/iommufd_hwpt.h"

namespace fake {

class Iommufd;
class IommufdDevice;
class HwQueue;
class VeventQueue;

class Viommu : public IommufdObject {
 public:
  Viommu(const Iommu& iommu, std::shared_ptr<PagingHwpt> parent)
      : driver_(iommu.driver()), parent_(std::move(parent)) {}

  bool Fits(const Iommu& iommu) const { return driver_ == iommu.driver(); }
  const std::shared_ptr<PagingHwpt>& parent() const { return parent_.get(); }
  // The guest's number for a device.
  std::optional<uint64_t> FindId(const IommufdDevice& device) const;
  // An event for the queue of this type: EOPNOTSUPP if there is none.
  int Tell(uint32_t type, const void* data, std::size_t length);

  std::map<uint64_t, IommufdDevice*> devices;            // by the guest's number for it
  std::map<uint32_t, VeventQueue*> queues;               // by type
  std::map<uint32_t, std::weak_ptr<HwQueue>> hw_queues;  // by index

 private:
  std::string_view driver_;
  Use<PagingHwpt> parent_;
};

// The mock has two queues; the second needs the first.
class HwQueue : public IommufdObject {
 public:
  HwQueue(std::shared_ptr<Viommu> viommu, uint32_t index, uint64_t first, uint64_t last);
  void Leave(Iommufd& iommufd) override;

 private:
  Use<Viommu> viommu_;
  Use<HwQueue> before_;
  uint32_t index_;
  uint64_t first_;
  uint64_t last_;
};

class Vdevice : public IommufdObject {
 public:
  Vdevice(std::shared_ptr<Viommu> viommu, const std::shared_ptr<IommufdDevice>& device, uint64_t virtual_id);
  void Leave(Iommufd& iommufd) override;

 private:
  Use<Viommu> viommu_;
  std::weak_ptr<IommufdDevice> device_;
  uint64_t virtual_id_;
};

class VeventQueue : public IommufdObject {
 public:
  static constexpr bool kWritable = false;
  static constexpr const char* kPath = "anon_inode:[iommufd-viommu-event]";

  VeventQueue(std::shared_ptr<Viommu> viommu, uint32_t type, uint32_t depth);
  void Leave(Iommufd& iommufd) override;

  void Add(const void* data, std::size_t length);
  int64_t Read(void* buffer, std::size_t size);
  int64_t Write(const void*, std::size_t) { return -EINVAL; }
  bool waiting() const { return !events_.empty() || lost_; }

  Readiness readiness;

 private:
  struct Event {
    uint32_t sequence;
    std::vector<uint8_t> data;
  };

  Use<Viommu> viommu_;
  uint32_t type_;
  uint32_t depth_;
  uint32_t sequence_ = 0;
  std::deque<Event> events_;
  std::optional<uint32_t> lost_;  // sequence number of the last lost event
};

}  // namespace fake
