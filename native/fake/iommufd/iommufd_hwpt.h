// Hardware page tables (HWPTs) as objects of an iommufd.
#pragma once

#include <string_view>

#include "fake/iommu/iommu.h"
#include "fake/iommufd/iommufd_fault_queue.h"
#include "fake/iommufd/iommufd_ioas.h"
#include "fake/iommufd/iommufd_object.h"

namespace fake {

class PagingHwpt;

class Hwpt : public IommufdObject {
 public:
  Hwpt(const Iommu& iommu, uint32_t flags)
      : pasid_compatible((flags & uapi::IOMMU_HWPT_ALLOC_PASID) != 0), driver_(iommu.driver()) {}

  // The HWPT that has the IOAS: this one, or its parent.
  virtual PagingHwpt& paging() = 0;
  virtual bool Fits(const Iommu& iommu) const { return driver_ == iommu.driver(); }
  std::string_view driver() const { return driver_; }

  const bool pasid_compatible;
  Use<FaultQueue> faults;  // receives page requests; may be none

 private:
  std::string_view driver_;
};

// A HWPT that holds all mappings of an IOAS.
class PagingHwpt : public Hwpt {
 public:
  PagingHwpt(const Iommu& iommu, std::shared_ptr<Ioas> ioas, uint32_t flags, const PageTable& table)
      : Hwpt(iommu, flags),
        nest_parent((flags & uapi::IOMMU_HWPT_ALLOC_NEST_PARENT) != 0),
        table_(table),
        ioas_(std::move(ioas)) {}
  ~PagingHwpt() override;

  // Copies the IOAS's mappings into the table. -EADDRINUSE: a mapping is outside the table's range.
  int Fill();

  PagingHwpt& paging() override { return *this; }
  bool Fits(const Iommu& iommu) const override { return Hwpt::Fits(iommu) && iommu.Fits(table_); }
  Ioas& ioas() const { return *ioas_; }
  const PageTable& table() const { return table_; }

  const bool nest_parent;
  bool automatic = false;       // made by an attachment to an IOAS; destroyed with the last one
  bool dirty_tracking = false;  // going on

 private:
  PageTable table_;
  Use<Ioas> ioas_;
};

// A guest's page table, which the IOMMU walks before its parent's. Only the mock has it, which translates nothing.
class NestedHwpt : public Hwpt {
 public:
  NestedHwpt(const Iommu& iommu, std::shared_ptr<PagingHwpt> parent, uint32_t flags, const MockTlb& cached)
      : Hwpt(iommu, flags), tlb(cached), parent_(std::move(parent)) {}

  PagingHwpt& paging() override { return *parent_; }

  MockTlb tlb;
  Use<IommufdObject> viommu;  // the vIOMMU it was made from, if any

 private:
  Use<PagingHwpt> parent_;
};

// iommufd_hwpt_paging_alloc() up to where the table is filled. `data` may be nullptr.
int MakePagingHwpt(const Iommu& iommu, std::shared_ptr<Ioas> ioas, uint32_t flags, const DriverData* data,
                   std::shared_ptr<PagingHwpt>* out);

}  // namespace fake
