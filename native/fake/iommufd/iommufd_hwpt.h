// Hardware page tables (HWPTs) as objects of an iommufd: what devices are attached to.
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

  // The one with an IOAS behind it: itself, or what it is nested in.
  virtual PagingHwpt& paging() = 0;
  virtual bool Fits(const Iommu& iommu) const { return driver_ == iommu.driver(); }
  std::string_view driver() const { return driver_; }

  const bool pasid_compatible;
  Use<FaultQueue> faults;  // where page requests go; none: nowhere

 private:
  std::string_view driver_;
};

// All that is mapped in an IOAS, in the format of one IOMMU.
class PagingHwpt : public Hwpt {
 public:
  PagingHwpt(const Iommu& iommu, std::shared_ptr<Ioas> ioas, uint32_t flags, const PageTable& table)
      : Hwpt(iommu, flags),
        nest_parent((flags & uapi::IOMMU_HWPT_ALLOC_NEST_PARENT) != 0),
        table_(table),
        ioas_(std::move(ioas)) {}
  ~PagingHwpt() override;

  // Puts what is mapped in the IOAS into the table: -EADDRINUSE if some of that lies where it can have nothing.
  int Fill();

  PagingHwpt& paging() override { return *this; }
  bool Fits(const Iommu& iommu) const override { return Hwpt::Fits(iommu) && iommu.Fits(table_); }
  Ioas& ioas() const { return *ioas_; }
  const PageTable& table() const { return table_; }

  const bool nest_parent;
  bool automatic = false;       // made by an attachment to an IOAS, gone with the last
  bool dirty_tracking = false;  // going on

 private:
  PageTable table_;
  Use<Ioas> ioas_;
};

// A page table of a guest's that the IOMMU walks before its parent's: here the mock's, which translates nothing.
class NestedHwpt : public Hwpt {
 public:
  NestedHwpt(const Iommu& iommu, std::shared_ptr<PagingHwpt> parent, uint32_t flags, const MockTlb& cached)
      : Hwpt(iommu, flags), tlb(cached), parent_(std::move(parent)) {}

  PagingHwpt& paging() override { return *parent_; }

  MockTlb tlb;
  Use<IommufdObject> viommu;  // what it was made from; none: the parent

 private:
  Use<PagingHwpt> parent_;
};

// iommufd_hwpt_paging_alloc() up to where the table is filled. `data` may be nullptr.
int MakePagingHwpt(const Iommu& iommu, std::shared_ptr<Ioas> ioas, uint32_t flags, const DriverData* data,
                   std::shared_ptr<PagingHwpt>* out);

}  // namespace fake
