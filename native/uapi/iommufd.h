// IOMMUFD's interface, as far as this library speaks it (linux/iommufd.h). Every struct starts with its own size, so
// that old and new kernels understand each other.
#pragma once

#include "uapi/ioctl.h"

namespace uapi {

constexpr unsigned IOMMUFD_TYPE = ';';

constexpr request_t IOMMU_DESTROY = IoctlNone(IOMMUFD_TYPE, 0x80);
constexpr request_t IOMMU_IOAS_ALLOC = IoctlNone(IOMMUFD_TYPE, 0x81);
constexpr request_t IOMMU_IOAS_ALLOW_IOVAS = IoctlNone(IOMMUFD_TYPE, 0x82);
constexpr request_t IOMMU_IOAS_COPY = IoctlNone(IOMMUFD_TYPE, 0x83);
constexpr request_t IOMMU_IOAS_IOVA_RANGES = IoctlNone(IOMMUFD_TYPE, 0x84);
constexpr request_t IOMMU_IOAS_MAP = IoctlNone(IOMMUFD_TYPE, 0x85);
constexpr request_t IOMMU_IOAS_UNMAP = IoctlNone(IOMMUFD_TYPE, 0x86);
constexpr request_t IOMMU_OPTION = IoctlNone(IOMMUFD_TYPE, 0x87);
constexpr request_t IOMMU_VFIO_IOAS = IoctlNone(IOMMUFD_TYPE, 0x88);
constexpr request_t IOMMU_HWPT_ALLOC = IoctlNone(IOMMUFD_TYPE, 0x89);
constexpr request_t IOMMU_GET_HW_INFO = IoctlNone(IOMMUFD_TYPE, 0x8a);
constexpr request_t IOMMU_HWPT_SET_DIRTY_TRACKING = IoctlNone(IOMMUFD_TYPE, 0x8b);
constexpr request_t IOMMU_HWPT_GET_DIRTY_BITMAP = IoctlNone(IOMMUFD_TYPE, 0x8c);
constexpr request_t IOMMU_HWPT_INVALIDATE = IoctlNone(IOMMUFD_TYPE, 0x8d);
constexpr request_t IOMMU_FAULT_QUEUE_ALLOC = IoctlNone(IOMMUFD_TYPE, 0x8e);
constexpr request_t IOMMU_VIOMMU_ALLOC = IoctlNone(IOMMUFD_TYPE, 0x90);
constexpr request_t IOMMU_VDEVICE_ALLOC = IoctlNone(IOMMUFD_TYPE, 0x91);
constexpr request_t IOMMU_VEVENTQ_ALLOC = IoctlNone(IOMMUFD_TYPE, 0x93);
constexpr request_t IOMMU_IOAS_MAP_FILE = IoctlNone(IOMMUFD_TYPE, 0x8f);
constexpr request_t IOMMU_IOAS_CHANGE_PROCESS = IoctlNone(IOMMUFD_TYPE, 0x92);
constexpr request_t IOMMU_HW_QUEUE_ALLOC = IoctlNone(IOMMUFD_TYPE, 0x94);
constexpr request_t IOMMU_IOAS_NOIOMMU_GET_PA = IoctlNone(IOMMUFD_TYPE, 0x95);

struct iommu_destroy {
  uint32_t size;
  uint32_t id;
};
static_assert(sizeof(iommu_destroy) == 8);

struct iommu_ioas_alloc {
  uint32_t size;
  uint32_t flags;
  uint32_t out_ioas_id;
};
static_assert(sizeof(iommu_ioas_alloc) == 12);

struct iommu_iova_range {
  uint64_t start;
  uint64_t last;  // inclusive
};
static_assert(sizeof(iommu_iova_range) == 16);

struct iommu_ioas_iova_ranges {
  uint32_t size;
  uint32_t ioas_id;
  uint32_t num_iovas;
  uint32_t __reserved;
  uint64_t allowed_iovas;  // address of an array of iommu_iova_range
  uint64_t out_iova_alignment;
};
static_assert(sizeof(iommu_ioas_iova_ranges) == 32 && offsetof(iommu_ioas_iova_ranges, allowed_iovas) == 16);

constexpr uint32_t IOMMU_IOAS_MAP_FIXED_IOVA = 1U << 0;
constexpr uint32_t IOMMU_IOAS_MAP_WRITEABLE = 1U << 1;
constexpr uint32_t IOMMU_IOAS_MAP_READABLE = 1U << 2;

struct iommu_ioas_map {
  uint32_t size;
  uint32_t flags;
  uint32_t ioas_id;
  uint32_t __reserved;
  uint64_t user_va;
  uint64_t length;
  uint64_t iova;
};
static_assert(sizeof(iommu_ioas_map) == 40 && offsetof(iommu_ioas_map, user_va) == 16);

struct iommu_ioas_map_file {
  uint32_t size;
  uint32_t flags;
  uint32_t ioas_id;
  int32_t fd;
  uint64_t start;
  uint64_t length;
  uint64_t iova;
};
static_assert(sizeof(iommu_ioas_map_file) == 40 && offsetof(iommu_ioas_map_file, start) == 16);

struct iommu_ioas_copy {
  uint32_t size;
  uint32_t flags;  // IOMMU_IOAS_MAP_*
  uint32_t dst_ioas_id;
  uint32_t src_ioas_id;
  uint64_t length;
  uint64_t dst_iova;
  uint64_t src_iova;
};
static_assert(sizeof(iommu_ioas_copy) == 40 && offsetof(iommu_ioas_copy, src_iova) == 32);

// length comes back as the number of bytes that were unmapped.
struct iommu_ioas_unmap {
  uint32_t size;
  uint32_t ioas_id;
  uint64_t iova;
  uint64_t length;
};
static_assert(sizeof(iommu_ioas_unmap) == 24 && offsetof(iommu_ioas_unmap, iova) == 8);

// Where the kernel may choose IOVAs for mappings; no device may come that reserves some of them.
struct iommu_ioas_allow_iovas {
  uint32_t size;
  uint32_t ioas_id;
  uint32_t num_iovas;
  uint32_t __reserved;
  uint64_t allowed_iovas;  // address of an array of iommu_iova_range
};
static_assert(sizeof(iommu_ioas_allow_iovas) == 24 && offsetof(iommu_ioas_allow_iovas, allowed_iovas) == 16);

struct iommu_ioas_change_process {
  uint32_t size;
  uint32_t __reserved;
};
static_assert(sizeof(iommu_ioas_change_process) == 8);

// length: in, the most that is of interest; out, how far the memory is contiguous.
struct iommu_ioas_noiommu_get_pa {
  uint32_t size;
  uint32_t flags;
  uint32_t ioas_id;
  uint32_t __reserved;
  uint64_t iova;
  uint64_t length;
  uint64_t out_phys;
};
static_assert(sizeof(iommu_ioas_noiommu_get_pa) == 40 && offsetof(iommu_ioas_noiommu_get_pa, out_phys) == 32);

constexpr uint32_t IOMMU_OPTION_RLIMIT_MODE = 0;
constexpr uint32_t IOMMU_OPTION_HUGE_PAGES = 1;
constexpr uint16_t IOMMU_OPTION_OP_SET = 0;
constexpr uint16_t IOMMU_OPTION_OP_GET = 1;

struct iommu_option {
  uint32_t size;
  uint32_t option_id;
  uint16_t op;
  uint16_t __reserved;
  uint32_t object_id;  // 0: of the whole iommufd
  uint64_t val64;
};
static_assert(sizeof(iommu_option) == 24 && offsetof(iommu_option, val64) == 16);

constexpr uint16_t IOMMU_VFIO_IOAS_GET = 0;
constexpr uint16_t IOMMU_VFIO_IOAS_SET = 1;
constexpr uint16_t IOMMU_VFIO_IOAS_CLEAR = 2;

// Which IOAS the requests of the older VFIO container mean, on this iommufd.
struct iommu_vfio_ioas {
  uint32_t size;
  uint32_t ioas_id;
  uint16_t op;
  uint16_t __reserved;
};
static_assert(sizeof(iommu_vfio_ioas) == 12);

constexpr uint32_t IOMMU_HWPT_ALLOC_NEST_PARENT = 1U << 0;
constexpr uint32_t IOMMU_HWPT_ALLOC_DIRTY_TRACKING = 1U << 1;
constexpr uint32_t IOMMU_HWPT_FAULT_ID_VALID = 1U << 2;
constexpr uint32_t IOMMU_HWPT_ALLOC_PASID = 1U << 3;

constexpr uint32_t IOMMU_HWPT_DATA_NONE = 0;
constexpr uint32_t IOMMU_HWPT_DATA_VTD_S1 = 1;
constexpr uint32_t IOMMU_HWPT_DATA_ARM_SMMUV3 = 2;
constexpr uint32_t IOMMU_HWPT_DATA_AMD_GUEST = 3;

constexpr uint64_t IOMMU_VTD_S1_SRE = 1U << 0;   // supervisor requests
constexpr uint64_t IOMMU_VTD_S1_EAFE = 1U << 1;  // extended accessed flag
constexpr uint64_t IOMMU_VTD_S1_WPE = 1U << 2;   // write protection

// A guest's page table, as the IOMMU is to walk it before the host's: Intel's first stage, …
struct iommu_hwpt_vtd_s1 {
  uint64_t flags;
  uint64_t pgtbl_addr;
  uint32_t addr_width;
  uint32_t __reserved;
};
static_assert(sizeof(iommu_hwpt_vtd_s1) == 24);

// … a stream table entry of the Arm SMMUv3, …
struct iommu_hwpt_arm_smmuv3 {
  uint64_t ste[2];
};
static_assert(sizeof(iommu_hwpt_arm_smmuv3) == 16);

// … or a device table entry of AMD's.
struct iommu_hwpt_amd_guest {
  uint64_t dte[4];
};
static_assert(sizeof(iommu_hwpt_amd_guest) == 32);

struct iommu_hwpt_alloc {
  uint32_t size;
  uint32_t flags;
  uint32_t dev_id;
  uint32_t pt_id;  // an IOAS, a HWPT to nest in, or a vIOMMU
  uint32_t out_hwpt_id;
  uint32_t __reserved;
  uint32_t data_type;
  uint32_t data_len;
  uint64_t data_uptr;
  uint32_t fault_id;
  uint32_t __reserved2;
};
static_assert(sizeof(iommu_hwpt_alloc) == 48 && offsetof(iommu_hwpt_alloc, data_uptr) == 32);

constexpr uint32_t IOMMU_HW_INFO_FLAG_INPUT_TYPE = 1U << 0;

constexpr uint32_t IOMMU_HW_INFO_TYPE_NONE = 0;
constexpr uint32_t IOMMU_HW_INFO_TYPE_DEFAULT = 0;
constexpr uint32_t IOMMU_HW_INFO_TYPE_INTEL_VTD = 1;
constexpr uint32_t IOMMU_HW_INFO_TYPE_ARM_SMMUV3 = 2;
constexpr uint32_t IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV = 3;
constexpr uint32_t IOMMU_HW_INFO_TYPE_AMD = 4;

constexpr uint64_t IOMMU_HW_CAP_DIRTY_TRACKING = 1U << 0;
constexpr uint64_t IOMMU_HW_CAP_PCI_PASID_EXEC = 1U << 1;
constexpr uint64_t IOMMU_HW_CAP_PCI_PASID_PRIV = 1U << 2;
constexpr uint64_t IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED = 1U << 3;

constexpr uint32_t IOMMU_HW_INFO_VTD_ERRATA_772415_SPR17 = 1U << 0;

struct iommu_hw_info_vtd {
  uint32_t flags;
  uint32_t __reserved;
  uint64_t cap_reg;
  uint64_t ecap_reg;
};
static_assert(sizeof(iommu_hw_info_vtd) == 24);

constexpr uint32_t IOMMU_HW_INFO_ARM_SMMUV3_ERRATA_REPEAT_TLBI_CFGI = 1U << 0;

struct iommu_hw_info_arm_smmuv3 {
  uint32_t flags;
  uint32_t __reserved;
  uint32_t idr[6];
  uint32_t iidr;
  uint32_t aidr;
};
static_assert(sizeof(iommu_hw_info_arm_smmuv3) == 40);

struct iommu_hw_info_tegra241_cmdqv {
  uint32_t flags;
  uint8_t version;
  uint8_t log2vcmdqs;
  uint8_t log2vsids;
  uint8_t __reserved;
};
static_assert(sizeof(iommu_hw_info_tegra241_cmdqv) == 8);

struct iommu_hw_info_amd {
  uint64_t efr;
  uint64_t efr2;
};
static_assert(sizeof(iommu_hw_info_amd) == 16);

struct iommu_hw_info {
  uint32_t size;
  uint32_t flags;
  uint32_t dev_id;
  uint32_t data_len;  // in: the room at data_uptr; out: how much there is
  uint64_t data_uptr;
  union {
    uint32_t in_data_type;
    uint32_t out_data_type;
  };
  uint8_t out_max_pasid_log2;
  uint8_t __reserved[3];
  uint64_t out_capabilities;
};
static_assert(sizeof(iommu_hw_info) == 40 && offsetof(iommu_hw_info, out_capabilities) == 32);

constexpr uint32_t IOMMU_HWPT_DIRTY_TRACKING_ENABLE = 1;

struct iommu_hwpt_set_dirty_tracking {
  uint32_t size;
  uint32_t flags;
  uint32_t hwpt_id;
  uint32_t __reserved;
};
static_assert(sizeof(iommu_hwpt_set_dirty_tracking) == 16);

constexpr uint32_t IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR = 1;

// A bit for each page_size bytes is set at `data` where something was written; no bit is cleared there.
struct iommu_hwpt_get_dirty_bitmap {
  uint32_t size;
  uint32_t hwpt_id;
  uint32_t flags;
  uint32_t __reserved;
  uint64_t iova;
  uint64_t length;
  uint64_t page_size;
  uint64_t data;
};
static_assert(sizeof(iommu_hwpt_get_dirty_bitmap) == 48 && offsetof(iommu_hwpt_get_dirty_bitmap, data) == 40);

constexpr uint32_t IOMMU_HWPT_INVALIDATE_DATA_VTD_S1 = 0;
constexpr uint32_t IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3 = 1;

constexpr uint32_t IOMMU_VTD_INV_FLAGS_LEAF = 1U << 0;  // what the table's upper levels led to stays cached

// What an IOMMU forgets of a guest's page table: Intel's, a range of addresses, …
struct iommu_hwpt_vtd_s1_invalidate {
  uint64_t addr;
  uint64_t npages;  // all ones, with an address of 0: everything
  uint32_t flags;
  uint32_t __reserved;
};
static_assert(sizeof(iommu_hwpt_vtd_s1_invalidate) == 24 && offsetof(iommu_hwpt_vtd_s1_invalidate, flags) == 16);

// … Arm's, a command of the guest's command queue.
struct iommu_viommu_arm_smmuv3_invalidate {
  uint64_t cmd[2];
};
static_assert(sizeof(iommu_viommu_arm_smmuv3_invalidate) == 16);

struct iommu_hwpt_invalidate {
  uint32_t size;
  uint32_t hwpt_id;    // a nested HWPT, or a vIOMMU
  uint64_t data_uptr;  // address of the entries
  uint32_t data_type;
  uint32_t entry_len;
  uint32_t entry_num;  // in: how many; out: how many were heeded, also where one of them failed
  uint32_t __reserved;
};
static_assert(sizeof(iommu_hwpt_invalidate) == 32 && offsetof(iommu_hwpt_invalidate, data_type) == 16);

// The new queue's fd is read for page requests, and written for the responses to them.
struct iommu_fault_alloc {
  uint32_t size;
  uint32_t flags;
  uint32_t out_fault_id;
  uint32_t out_fault_fd;
};
static_assert(sizeof(iommu_fault_alloc) == 16);

constexpr uint32_t IOMMU_PGFAULT_FLAGS_PASID_VALID = 1U << 0;
constexpr uint32_t IOMMU_PGFAULT_FLAGS_LAST_PAGE = 1U << 1;

constexpr uint32_t IOMMU_PGFAULT_PERM_READ = 1U << 0;
constexpr uint32_t IOMMU_PGFAULT_PERM_WRITE = 1U << 1;
constexpr uint32_t IOMMU_PGFAULT_PERM_EXEC = 1U << 2;
constexpr uint32_t IOMMU_PGFAULT_PERM_PRIV = 1U << 3;

// One page request. Those of a group have the same cookie, and one response.
struct iommu_hwpt_pgfault {
  uint32_t flags;
  uint32_t dev_id;
  uint32_t pasid;
  uint32_t grpid;
  uint32_t perm;
  uint32_t __reserved;
  uint64_t addr;
  uint32_t length;  // how much more the device is going to want; 0: it does not say
  uint32_t cookie;
};
static_assert(sizeof(iommu_hwpt_pgfault) == 40 && offsetof(iommu_hwpt_pgfault, addr) == 24);

constexpr uint32_t IOMMUFD_PAGE_RESP_SUCCESS = 0;
constexpr uint32_t IOMMUFD_PAGE_RESP_INVALID = 1;

struct iommu_hwpt_page_response {
  uint32_t cookie;
  uint32_t code;
};
static_assert(sizeof(iommu_hwpt_page_response) == 8);

constexpr uint32_t IOMMU_VIOMMU_TYPE_DEFAULT = 0;
constexpr uint32_t IOMMU_VIOMMU_TYPE_ARM_SMMUV3 = 1;
constexpr uint32_t IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV = 2;

// Where the iommufd is mapped for the guest to reach the registers of its command queues.
struct iommu_viommu_tegra241_cmdqv {
  uint64_t out_vintf_mmap_offset;
  uint64_t out_vintf_mmap_length;
};
static_assert(sizeof(iommu_viommu_tegra241_cmdqv) == 16);

struct iommu_viommu_alloc {
  uint32_t size;
  uint32_t flags;
  uint32_t type;
  uint32_t dev_id;
  uint32_t hwpt_id;  // a nesting parent
  uint32_t out_viommu_id;
  uint32_t data_len;
  uint32_t __reserved;
  uint64_t data_uptr;  // address of the driver's own struct, which it may answer in
};
static_assert(sizeof(iommu_viommu_alloc) == 40 && offsetof(iommu_viommu_alloc, data_uptr) == 32);

struct iommu_vdevice_alloc {
  uint32_t size;
  uint32_t viommu_id;
  uint32_t dev_id;
  uint32_t out_vdevice_id;
  uint64_t virt_id;  // the guest's number for the device
};
static_assert(sizeof(iommu_vdevice_alloc) == 24 && offsetof(iommu_vdevice_alloc, virt_id) == 16);

constexpr uint32_t IOMMU_HW_QUEUE_TYPE_DEFAULT = 0;
constexpr uint32_t IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV = 1;

struct iommu_hw_queue_alloc {
  uint32_t size;
  uint32_t flags;
  uint32_t viommu_id;
  uint32_t type;
  uint32_t index;
  uint32_t out_hw_queue_id;
  uint64_t nesting_parent_iova;  // of the queue's memory, in bytes as the length
  uint64_t length;
};
static_assert(sizeof(iommu_hw_queue_alloc) == 40 && offsetof(iommu_hw_queue_alloc, nesting_parent_iova) == 24);

constexpr uint32_t IOMMU_VEVENTQ_FLAG_LOST_EVENTS = 1U << 0;

// Before each event, or, if the last events were lost, in place of them.
struct iommufd_vevent_header {
  uint32_t flags;
  uint32_t sequence;  // 31 bits; those that are left out were lost
};
static_assert(sizeof(iommufd_vevent_header) == 8);

constexpr uint32_t IOMMU_VEVENTQ_TYPE_DEFAULT = 0;
constexpr uint32_t IOMMU_VEVENTQ_TYPE_ARM_SMMUV3 = 1;
constexpr uint32_t IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV = 2;

struct iommu_vevent_arm_smmuv3 {
  uint64_t evt[4];
};
static_assert(sizeof(iommu_vevent_arm_smmuv3) == 32);

struct iommu_vevent_tegra241_cmdqv {
  uint64_t lvcmdq_err_map[2];
};
static_assert(sizeof(iommu_vevent_tegra241_cmdqv) == 16);

// The new queue's fd is read for events.
struct iommu_veventq_alloc {
  uint32_t size;
  uint32_t flags;
  uint32_t viommu_id;
  uint32_t type;
  uint32_t veventq_depth;
  uint32_t out_veventq_id;
  uint32_t out_veventq_fd;
  uint32_t __reserved;
};
static_assert(sizeof(iommu_veventq_alloc) == 32);

}  // namespace uapi
