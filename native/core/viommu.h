// Virtual IOMMUs: a guest's share of a physical one.
#pragma once

#include <memory>
#include <vector>

#include "core/event_queue.h"
#include "core/hwpt.h"

namespace core {

class Viommu : public IommufdObject {
 public:
  // `data`: the driver's struct. The driver may write its answer there.
  static std::shared_ptr<Viommu> Allocate(const std::shared_ptr<const Hwpt>& parent, uint32_t device, uint32_t type,
                                          std::vector<uint8_t>* data);

 private:
  using IommufdObject::IommufdObject;
};

// A device under its id in the guest's IOMMU.
class Vdevice : public IommufdObject {
 public:
  static std::shared_ptr<Vdevice> Allocate(const std::shared_ptr<const Viommu>& viommu, uint32_t device,
                                           uint64_t virtual_id);
  // No error when it was destroyed with its device.
  void Destroy() override;

 private:
  using IommufdObject::IommufdObject;
};

// A queue of commands in the guest's memory that the physical IOMMU reads by itself.
class HwQueue : public IommufdObject {
 public:
  static std::shared_ptr<HwQueue> Allocate(const std::shared_ptr<const Viommu>& viommu, uint32_t type, uint32_t index,
                                           uint64_t iova, uint64_t length);

 private:
  using IommufdObject::IommufdObject;
};

// A queue of events from the physical IOMMU for the guest's.
class VeventQueue : public EventQueue {
 public:
  static std::shared_ptr<VeventQueue> Allocate(const std::shared_ptr<const Viommu>& viommu, uint32_t type,
                                               uint32_t depth);

 private:
  using EventQueue::EventQueue;
};

}  // namespace core
