// The part of IOMMUFD's interface that this library uses (linux/iommufd.h). Every struct starts with its own size, so
// that programs and kernels of different versions are compatible.
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

// length, out: the number of bytes that were unmapped.
struct iommu_ioas_unmap {
  uint32_t size;
  uint32_t ioas_id;
  uint64_t iova;
  uint64_t length;
};
static_assert(sizeof(iommu_ioas_unmap) == 24 && offsetof(iommu_ioas_unmap, iova) == 8);

// The IOVAs that the kernel may choose for mappings. A device that reserves some of them can then not be attached.
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

// length, in: the longest result; out: the number of physically contiguous bytes.
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
  uint32_t object_id;  // 0: the whole iommufd
  uint64_t val64;
};
static_assert(sizeof(iommu_option) == 24 && offsetof(iommu_option, val64) == 16);

constexpr uint16_t IOMMU_VFIO_IOAS_GET = 0;
constexpr uint16_t IOMMU_VFIO_IOAS_SET = 1;
constexpr uint16_t IOMMU_VFIO_IOAS_CLEAR = 2;

// The IOAS that VFIO container requests on this iommufd use.
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

// A guest's page table, which the IOMMU walks before the host's: a first stage table of Intel VT-d.
struct iommu_hwpt_vtd_s1 {
  uint64_t flags;
  uint64_t pgtbl_addr;
  uint32_t addr_width;
  uint32_t __reserved;
};
static_assert(sizeof(iommu_hwpt_vtd_s1) == 24);

// The same for the Arm SMMUv3: a stream table entry.
struct iommu_hwpt_arm_smmuv3 {
  uint64_t ste[2];
};
static_assert(sizeof(iommu_hwpt_arm_smmuv3) == 16);

// The same for AMD: a device table entry.
struct iommu_hwpt_amd_guest {
  uint64_t dte[4];
};
static_assert(sizeof(iommu_hwpt_amd_guest) == 32);

struct iommu_hwpt_alloc {
  uint32_t size;
  uint32_t flags;
  uint32_t dev_id;
  uint32_t pt_id;  // an IOAS, a nesting parent HWPT, or a vIOMMU
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
  uint32_t data_len;  // in: the size of the buffer at data_uptr; out: the size of the kernel's data
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

// Sets a bit at `data` for each page_size bytes that were written to. Does not clear the other bits.
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

constexpr uint32_t IOMMU_VTD_INV_FLAGS_LEAF = 1U << 0;  // keeps the cached entries of the upper levels

// A cache invalidation for a guest's page table of Intel VT-d: a range of addresses.
struct iommu_hwpt_vtd_s1_invalidate {
  uint64_t addr;
  uint64_t npages;  // all ones and an addr of 0: everything
  uint32_t flags;
  uint32_t __reserved;
};
static_assert(sizeof(iommu_hwpt_vtd_s1_invalidate) == 24 && offsetof(iommu_hwpt_vtd_s1_invalidate, flags) == 16);

// A cache invalidation of the Arm SMMUv3: a command of the guest's command queue.
struct iommu_viommu_arm_smmuv3_invalidate {
  uint64_t cmd[2];
};
static_assert(sizeof(iommu_viommu_arm_smmuv3_invalidate) == 16);

struct iommu_hwpt_invalidate {
  uint32_t size;
  uint32_t hwpt_id;    // a nested HWPT, or a vIOMMU
  uint64_t data_uptr;  // address of the entries' array
  uint32_t data_type;
  uint32_t entry_len;
  uint32_t entry_num;  // in: number of entries; out: number of executed entries, also on failure
  uint32_t __reserved;
};
static_assert(sizeof(iommu_hwpt_invalidate) == 32 && offsetof(iommu_hwpt_invalidate, data_type) == 16);

// Allocates a queue with an fd: read(2) returns page requests, write(2) takes the responses.
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

// One page request. The requests of a group have the same cookie and get one response.
struct iommu_hwpt_pgfault {
  uint32_t flags;
  uint32_t dev_id;
  uint32_t pasid;
  uint32_t grpid;
  uint32_t perm;
  uint32_t __reserved;
  uint64_t addr;
  uint32_t length;  // a hint: number of bytes that the device will access; 0: unknown
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

// The offset and length at which mmap(2) of the iommufd maps the registers of a guest's command queues.
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
  uint64_t data_uptr;  // address of the driver's struct; the driver may write to it
};
static_assert(sizeof(iommu_viommu_alloc) == 40 && offsetof(iommu_viommu_alloc, data_uptr) == 32);

struct iommu_vdevice_alloc {
  uint32_t size;
  uint32_t viommu_id;
  uint32_t dev_id;
  uint32_t out_vdevice_id;
  uint64_t virt_id;  // the guest's id of the device
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
  uint64_t nesting_parent_iova;  // of the queue's memory; length in bytes
  uint64_t length;
};
static_assert(sizeof(iommu_hw_queue_alloc) == 40 && offsetof(iommu_hw_queue_alloc, nesting_parent_iova) == 24);

constexpr uint32_t IOMMU_VEVENTQ_FLAG_LOST_EVENTS = 1U << 0;

// Comes before each event, or in place of events that were lost.
struct iommufd_vevent_header {
  uint32_t flags;
  uint32_t sequence;  // 31 bits; a gap means lost events
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

// Allocates a queue with an fd: read(2) returns events.
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
