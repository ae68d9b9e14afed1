// The requests that Linux answers on an iommufd when it is built with CONFIG_IOMMUFD_TEST: they make mock devices with
// a full-featured IOMMU, for tests (drivers/iommu/iommufd/iommufd_test.h in the kernel's source).
#pragma once

#include "uapi/iommufd.h"

// NOLINTBEGIN(bugprone-reserved-identifier, readability-identifier-naming): these are the kernel's names
namespace uapi {

constexpr request_t IOMMU_TEST_CMD = IoctlNone(IOMMUFD_TYPE, 0xa0);

constexpr uint32_t IOMMU_TEST_OP_ADD_RESERVED = 1;
constexpr uint32_t IOMMU_TEST_OP_MOCK_DOMAIN = 2;
constexpr uint32_t IOMMU_TEST_OP_MD_CHECK_MAP = 3;
constexpr uint32_t IOMMU_TEST_OP_MD_CHECK_REFS = 4;
constexpr uint32_t IOMMU_TEST_OP_CREATE_ACCESS = 5;
constexpr uint32_t IOMMU_TEST_OP_DESTROY_ACCESS_PAGES = 6;
constexpr uint32_t IOMMU_TEST_OP_ACCESS_PAGES = 7;
constexpr uint32_t IOMMU_TEST_OP_ACCESS_RW = 8;
constexpr uint32_t IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT = 9;
constexpr uint32_t IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE = 10;
constexpr uint32_t IOMMU_TEST_OP_ACCESS_REPLACE_IOAS = 11;
constexpr uint32_t IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS = 12;
constexpr uint32_t IOMMU_TEST_OP_DIRTY = 13;
constexpr uint32_t IOMMU_TEST_OP_MD_CHECK_IOTLB = 14;
constexpr uint32_t IOMMU_TEST_OP_TRIGGER_IOPF = 15;
constexpr uint32_t IOMMU_TEST_OP_DEV_CHECK_CACHE = 16;
constexpr uint32_t IOMMU_TEST_OP_TRIGGER_VEVENT = 17;
constexpr uint32_t IOMMU_TEST_OP_PASID_ATTACH = 18;
constexpr uint32_t IOMMU_TEST_OP_PASID_REPLACE = 19;
constexpr uint32_t IOMMU_TEST_OP_PASID_DETACH = 20;
constexpr uint32_t IOMMU_TEST_OP_PASID_CHECK_HWPT = 21;

constexpr uint32_t MOCK_FLAGS_ACCESS_WRITE = 1U << 0;
constexpr uint32_t MOCK_ACCESS_RW_WRITE = 1U << 0;
constexpr uint32_t MOCK_ACCESS_RW_SLOW_PATH = 1U << 2;
constexpr uint32_t MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES = 1U << 0;
constexpr uint32_t MOCK_FLAGS_DEVICE_NO_DIRTY = 1U << 0;
constexpr uint32_t MOCK_FLAGS_DEVICE_PASID = 1U << 2;

struct iommu_test_cmd {
  uint32_t size;
  uint32_t op;
  uint32_t id;
  uint32_t __reserved;
  union {
    struct {
      uint64_t start;
      uint64_t length;
    } add_reserved;
    struct {  // id: what to attach the new device to
      uint32_t out_stdev_id;
      uint32_t out_hwpt_id;
      uint32_t out_idev_id;
      uint32_t dev_flags;
    } mock_domain_flags;
    struct {  // id: the device (out_stdev_id)
      uint32_t pt_id;
    } mock_domain_replace;
    struct {  // id: the HWPT of a mock device
      uint64_t iova;
      uint64_t length;
      uint64_t uptr;
    } check_map;
    struct {
      uint64_t length;
      uint64_t uptr;
      uint32_t refs;
    } check_refs;
    struct {  // id: an IOAS
      uint32_t out_access_fd;
      uint32_t flags;
    } create_access;
    struct {  // id: an fd (out_access_fd), for this and the next three
      uint32_t access_pages_id;
    } destroy_access_pages;
    struct {
      uint32_t flags;
      uint32_t out_access_pages_id;
      uint64_t iova;
      uint64_t length;
      uint64_t uptr;
    } access_pages;
    struct {
      uint64_t iova;
      uint64_t length;
      uint64_t uptr;
      uint32_t flags;
    } access_rw;
    struct {
      uint32_t ioas_id;
    } access_replace_ioas;
    struct {
      uint32_t limit;
    } memory_limit;
    struct {  // id: a HWPT
      uint32_t flags;
      uint64_t iova;
      uint64_t length;
      uint64_t page_size;
      uint64_t uptr;
      uint64_t out_nr_dirty;
    } dirty;
    struct {  // id: a nested HWPT
      uint32_t id;
      uint32_t iotlb;
    } check_iotlb;
    struct {
      uint32_t dev_id;
      uint32_t pasid;
      uint32_t grpid;
      uint32_t perm;
      uint64_t addr;
    } trigger_iopf;
    struct {  // id: a device (out_idev_id)
      uint32_t id;
      uint32_t cache;
    } check_dev_cache;
    struct {
      uint32_t dev_id;
    } trigger_vevent;
    struct {  // id: the device (out_stdev_id), for this and the next
      uint32_t pasid;
      uint32_t pt_id;
    } pasid_attach;
    struct {
      uint32_t pasid;
      uint32_t hwpt_id;
    } pasid_check;
  };
  uint32_t last;
};
static_assert(sizeof(iommu_test_cmd) == 72 && offsetof(iommu_test_cmd, last) == 64);
static_assert(offsetof(iommu_test_cmd, dirty.uptr) == 48 && offsetof(iommu_test_cmd, trigger_iopf.addr) == 32);

constexpr uint32_t IOMMU_HW_INFO_TYPE_SELFTEST = 0xfeedbeef;
constexpr uint32_t IOMMU_HW_INFO_SELFTEST_REGVAL = 0xdeadbeef;

struct iommu_test_hw_info {
  uint32_t flags;
  uint32_t test_reg;
};

constexpr uint32_t IOMMU_HWPT_DATA_SELFTEST = 0xdead;

constexpr uint32_t MOCK_IOMMUPT_DEFAULT = 0;
constexpr uint32_t MOCK_IOMMUPT_HUGE = 1;

struct iommu_hwpt_selftest {
  uint32_t iotlb;  // initial value of each TLB entry
  uint32_t pagetable_type;
};

constexpr uint32_t IOMMU_HWPT_INVALIDATE_DATA_SELFTEST = 0xdeadbeef;
constexpr uint32_t IOMMU_TEST_INVALIDATE_FLAG_ALL = 1U << 0;

struct iommu_hwpt_invalidate_selftest {
  uint32_t flags;
  uint32_t iotlb_id;
};

constexpr uint32_t IOMMU_VIOMMU_TYPE_SELFTEST = 0xdeadbeef;

struct iommu_viommu_selftest {
  uint32_t in_data;
  uint32_t out_data;  // the same again
  uint64_t out_mmap_offset;
  uint64_t out_mmap_length;
};

constexpr uint32_t IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST = 0xdeadbeef;

struct iommu_viommu_invalidate_selftest {
  uint32_t flags;
  uint32_t vdev_id;
  uint32_t cache_id;
};

constexpr uint32_t IOMMU_HW_QUEUE_TYPE_SELFTEST = 0xdeadbeef;
constexpr uint32_t IOMMU_VEVENTQ_TYPE_SELFTEST = 0xbeefbeef;

struct iommu_viommu_event_selftest {
  uint32_t virt_id;
};

}  // namespace uapi
// NOLINTEND(bugprone-reserved-identifier, readability-identifier-naming)
