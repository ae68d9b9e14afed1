// The part of VFIO's interface that this library uses: structs, request codes and constants with the kernel's names
// (linux/vfio.h). `npm run check:abi` compares them with the kernel's headers.
#pragma once

#include "uapi/ioctl.h"

namespace uapi {

constexpr unsigned VFIO_TYPE = ';';
constexpr unsigned VFIO_BASE = 100;

constexpr request_t VFIO_GET_API_VERSION = IoctlNone(VFIO_TYPE, VFIO_BASE + 0);
constexpr request_t VFIO_CHECK_EXTENSION = IoctlNone(VFIO_TYPE, VFIO_BASE + 1);
constexpr request_t VFIO_SET_IOMMU = IoctlNone(VFIO_TYPE, VFIO_BASE + 2);
constexpr request_t VFIO_GROUP_GET_STATUS = IoctlNone(VFIO_TYPE, VFIO_BASE + 3);
constexpr request_t VFIO_GROUP_SET_CONTAINER = IoctlNone(VFIO_TYPE, VFIO_BASE + 4);
constexpr request_t VFIO_GROUP_UNSET_CONTAINER = IoctlNone(VFIO_TYPE, VFIO_BASE + 5);
constexpr request_t VFIO_GROUP_GET_DEVICE_FD = IoctlNone(VFIO_TYPE, VFIO_BASE + 6);
constexpr request_t VFIO_IOMMU_GET_INFO = IoctlNone(VFIO_TYPE, VFIO_BASE + 12);
constexpr request_t VFIO_IOMMU_MAP_DMA = IoctlNone(VFIO_TYPE, VFIO_BASE + 13);
constexpr request_t VFIO_IOMMU_UNMAP_DMA = IoctlNone(VFIO_TYPE, VFIO_BASE + 14);
constexpr request_t VFIO_IOMMU_DIRTY_PAGES = IoctlNone(VFIO_TYPE, VFIO_BASE + 17);

constexpr request_t VFIO_DEVICE_GET_INFO = IoctlNone(VFIO_TYPE, VFIO_BASE + 7);
constexpr request_t VFIO_DEVICE_GET_REGION_INFO = IoctlNone(VFIO_TYPE, VFIO_BASE + 8);
constexpr request_t VFIO_DEVICE_GET_IRQ_INFO = IoctlNone(VFIO_TYPE, VFIO_BASE + 9);
constexpr request_t VFIO_DEVICE_SET_IRQS = IoctlNone(VFIO_TYPE, VFIO_BASE + 10);
constexpr request_t VFIO_DEVICE_RESET = IoctlNone(VFIO_TYPE, VFIO_BASE + 11);
constexpr request_t VFIO_DEVICE_GET_PCI_HOT_RESET_INFO = IoctlNone(VFIO_TYPE, VFIO_BASE + 12);
constexpr request_t VFIO_DEVICE_PCI_HOT_RESET = IoctlNone(VFIO_TYPE, VFIO_BASE + 13);
constexpr request_t VFIO_DEVICE_IOEVENTFD = IoctlNone(VFIO_TYPE, VFIO_BASE + 16);
constexpr request_t VFIO_DEVICE_QUERY_GFX_PLANE = IoctlNone(VFIO_TYPE, VFIO_BASE + 14);
constexpr request_t VFIO_DEVICE_GET_GFX_DMABUF = IoctlNone(VFIO_TYPE, VFIO_BASE + 15);
constexpr request_t VFIO_DEVICE_FEATURE = IoctlNone(VFIO_TYPE, VFIO_BASE + 17);
constexpr request_t VFIO_DEVICE_BIND_IOMMUFD = IoctlNone(VFIO_TYPE, VFIO_BASE + 18);
constexpr request_t VFIO_DEVICE_ATTACH_IOMMUFD_PT = IoctlNone(VFIO_TYPE, VFIO_BASE + 19);
constexpr request_t VFIO_DEVICE_DETACH_IOMMUFD_PT = IoctlNone(VFIO_TYPE, VFIO_BASE + 20);
constexpr request_t VFIO_MIG_GET_PRECOPY_INFO = IoctlNone(VFIO_TYPE, VFIO_BASE + 21);  // on a migration's data file

// Every info struct starts with argsz, in: the size of the caller's buffer; out: the size that the kernel needs.
// Capabilities follow the struct in the same buffer. Offsets count from the struct's start.
struct vfio_info_cap_header {
  uint16_t id;
  uint16_t version;
  uint32_t next;
};
static_assert(sizeof(vfio_info_cap_header) == 8 && offsetof(vfio_info_cap_header, next) == 4);

// ---- Groups and containers: the interface without IOMMUFD ----

constexpr int VFIO_API_VERSION = 0;

// Arguments of VFIO_CHECK_EXTENSION and VFIO_SET_IOMMU.
constexpr uint32_t VFIO_TYPE1_IOMMU = 1;
constexpr uint32_t VFIO_TYPE1v2_IOMMU = 3;
constexpr uint32_t VFIO_DMA_CC_IOMMU = 4;
constexpr uint32_t VFIO_NOIOMMU_IOMMU = 8;
constexpr uint32_t VFIO_UNMAP_ALL = 9;
constexpr uint32_t VFIO_UPDATE_VADDR = 10;

struct vfio_group_status {
  uint32_t argsz;
  uint32_t flags;
};
static_assert(sizeof(vfio_group_status) == 8);

constexpr uint32_t VFIO_GROUP_FLAGS_VIABLE = 1U << 0;
constexpr uint32_t VFIO_GROUP_FLAGS_CONTAINER_SET = 1U << 1;

// Capabilities follow in the same buffer.
struct vfio_iommu_type1_info {
  uint32_t argsz;
  uint32_t flags;
  uint64_t iova_pgsizes;  // bit n: pages of 2^n bytes
  uint32_t cap_offset;
  uint32_t pad;
};
static_assert(sizeof(vfio_iommu_type1_info) == 24 && offsetof(vfio_iommu_type1_info, cap_offset) == 16);

constexpr uint32_t VFIO_IOMMU_INFO_PGSIZES = 1U << 0;
constexpr uint32_t VFIO_IOMMU_INFO_CAPS = 1U << 1;
constexpr uint16_t VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE = 1;
constexpr uint16_t VFIO_IOMMU_TYPE1_INFO_CAP_MIGRATION = 2;
constexpr uint16_t VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL = 3;

struct vfio_iova_range {
  uint64_t start;
  uint64_t end;  // inclusive
};
static_assert(sizeof(vfio_iova_range) == 16);

// Followed by nr_iovas ranges.
struct vfio_iommu_type1_info_cap_iova_range {
  vfio_info_cap_header header;
  uint32_t nr_iovas;
  uint32_t reserved;
};
static_assert(sizeof(vfio_iommu_type1_info_cap_iova_range) == 16);

struct vfio_iommu_type1_info_cap_migration {
  vfio_info_cap_header header;
  uint32_t flags;
  uint64_t pgsize_bitmap;
  uint64_t max_dirty_bitmap_size;  // in bytes
};
static_assert(sizeof(vfio_iommu_type1_info_cap_migration) == 32 &&
              offsetof(vfio_iommu_type1_info_cap_migration, pgsize_bitmap) == 16);

// The number of mappings that can still be added.
struct vfio_iommu_type1_info_dma_avail {
  vfio_info_cap_header header;
  uint32_t avail;
};
static_assert(sizeof(vfio_iommu_type1_info_dma_avail) == 12);

struct vfio_iommu_type1_dma_map {
  uint32_t argsz;
  uint32_t flags;
  uint64_t vaddr;
  uint64_t iova;
  uint64_t size;
};
static_assert(sizeof(vfio_iommu_type1_dma_map) == 32 && offsetof(vfio_iommu_type1_dma_map, iova) == 16);

constexpr uint32_t VFIO_DMA_MAP_FLAG_READ = 1U << 0;   // by the device
constexpr uint32_t VFIO_DMA_MAP_FLAG_WRITE = 1U << 1;  // by the device
constexpr uint32_t VFIO_DMA_MAP_FLAG_VADDR = 1U << 2;  // sets a new address for a mapping whose address is invalid

struct vfio_bitmap {
  uint64_t pgsize;
  uint64_t size;  // size of the bitmap in bytes
  uint64_t data;  // address of the bitmap: a bit for each page
};
static_assert(sizeof(vfio_bitmap) == 24);

// Followed by a vfio_bitmap if the flags request the dirty bitmap. size, out: the number of bytes that were unmapped.
struct vfio_iommu_type1_dma_unmap {
  uint32_t argsz;
  uint32_t flags;
  uint64_t iova;
  uint64_t size;
};
static_assert(sizeof(vfio_iommu_type1_dma_unmap) == 24 && offsetof(vfio_iommu_type1_dma_unmap, size) == 16);

constexpr uint32_t VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP = 1U << 0;
constexpr uint32_t VFIO_DMA_UNMAP_FLAG_ALL = 1U << 1;
constexpr uint32_t VFIO_DMA_UNMAP_FLAG_VADDR = 1U << 2;  // unmaps nothing, but makes the mappings' addresses invalid

// Followed by a vfio_iommu_type1_dirty_bitmap_get if the flags request the bitmap.
struct vfio_iommu_type1_dirty_bitmap {
  uint32_t argsz;
  uint32_t flags;
};
static_assert(sizeof(vfio_iommu_type1_dirty_bitmap) == 8);

constexpr uint32_t VFIO_IOMMU_DIRTY_PAGES_FLAG_START = 1U << 0;
constexpr uint32_t VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP = 1U << 1;
constexpr uint32_t VFIO_IOMMU_DIRTY_PAGES_FLAG_GET_BITMAP = 1U << 2;

struct vfio_iommu_type1_dirty_bitmap_get {
  uint64_t iova;
  uint64_t size;
  vfio_bitmap bitmap;
};
static_assert(sizeof(vfio_iommu_type1_dirty_bitmap_get) == 40);

// ---- Devices ----

struct vfio_device_info {
  uint32_t argsz;
  uint32_t flags;
  uint32_t num_regions;
  uint32_t num_irqs;
  uint32_t cap_offset;
  uint32_t pad;
};
static_assert(sizeof(vfio_device_info) == 24 && offsetof(vfio_device_info, num_regions) == 8 &&
              offsetof(vfio_device_info, cap_offset) == 16);

constexpr uint32_t VFIO_DEVICE_FLAGS_RESET = 1U << 0;
constexpr uint32_t VFIO_DEVICE_FLAGS_PCI = 1U << 1;
constexpr uint32_t VFIO_DEVICE_FLAGS_CAPS = 1U << 7;

constexpr uint16_t VFIO_DEVICE_INFO_CAP_ZPCI_BASE = 1;
constexpr uint16_t VFIO_DEVICE_INFO_CAP_ZPCI_GROUP = 2;
constexpr uint16_t VFIO_DEVICE_INFO_CAP_ZPCI_UTIL = 3;
constexpr uint16_t VFIO_DEVICE_INFO_CAP_ZPCI_PFIP = 4;
constexpr uint16_t VFIO_DEVICE_INFO_CAP_PCI_ATOMIC_COMP = 5;

struct vfio_device_info_cap_pci_atomic_comp {
  vfio_info_cap_header header;
  uint32_t flags;
  uint32_t reserved;
};
static_assert(sizeof(vfio_device_info_cap_pci_atomic_comp) == 16);

constexpr uint32_t VFIO_PCI_ATOMIC_COMP32 = 1U << 0;
constexpr uint32_t VFIO_PCI_ATOMIC_COMP64 = 1U << 1;
constexpr uint32_t VFIO_PCI_ATOMIC_COMP128 = 1U << 2;

struct vfio_region_info {
  uint32_t argsz;
  uint32_t flags;
  uint32_t index;
  uint32_t cap_offset;
  uint64_t size;
  uint64_t offset;
};
static_assert(sizeof(vfio_region_info) == 32 && offsetof(vfio_region_info, cap_offset) == 12 &&
              offsetof(vfio_region_info, offset) == 24);

constexpr uint32_t VFIO_REGION_INFO_FLAG_READ = 1U << 0;
constexpr uint32_t VFIO_REGION_INFO_FLAG_WRITE = 1U << 1;
constexpr uint32_t VFIO_REGION_INFO_FLAG_MMAP = 1U << 2;
constexpr uint32_t VFIO_REGION_INFO_FLAG_CAPS = 1U << 3;

constexpr uint16_t VFIO_REGION_INFO_CAP_SPARSE_MMAP = 1;
constexpr uint16_t VFIO_REGION_INFO_CAP_TYPE = 2;
constexpr uint16_t VFIO_REGION_INFO_CAP_MSIX_MAPPABLE = 3;
constexpr uint16_t VFIO_REGION_INFO_CAP_NVLINK2_SSATGT = 4;
constexpr uint16_t VFIO_REGION_INFO_CAP_NVLINK2_LNKSPD = 5;

struct vfio_region_sparse_mmap_area {
  uint64_t offset;
  uint64_t size;
};
static_assert(sizeof(vfio_region_sparse_mmap_area) == 16);

// Followed by nr_areas areas.
struct vfio_region_info_cap_sparse_mmap {
  vfio_info_cap_header header;
  uint32_t nr_areas;
  uint32_t reserved;
};
static_assert(sizeof(vfio_region_info_cap_sparse_mmap) == 16);

struct vfio_region_info_cap_type {
  vfio_info_cap_header header;
  uint32_t type;
  uint32_t subtype;
};
static_assert(sizeof(vfio_region_info_cap_type) == 16);

constexpr uint32_t VFIO_REGION_TYPE_PCI_VENDOR_TYPE = 1U << 31;
constexpr uint32_t VFIO_REGION_TYPE_PCI_VENDOR_MASK = 0xffff;
constexpr uint32_t VFIO_REGION_TYPE_GFX = 1;
constexpr uint32_t VFIO_REGION_TYPE_CCW = 2;
constexpr uint32_t VFIO_REGION_TYPE_MIGRATION_DEPRECATED = 3;

// vfio-pci's fixed region and interrupt indices. A region is at the offset (index << 40) of the device's fd.
constexpr uint32_t VFIO_PCI_BAR0_REGION_INDEX = 0;
constexpr uint32_t VFIO_PCI_BAR5_REGION_INDEX = 5;
constexpr uint32_t VFIO_PCI_ROM_REGION_INDEX = 6;
constexpr uint32_t VFIO_PCI_CONFIG_REGION_INDEX = 7;
constexpr uint32_t VFIO_PCI_VGA_REGION_INDEX = 8;
constexpr uint32_t VFIO_PCI_NUM_REGIONS = 9;

constexpr uint32_t VFIO_PCI_INTX_IRQ_INDEX = 0;
constexpr uint32_t VFIO_PCI_MSI_IRQ_INDEX = 1;
constexpr uint32_t VFIO_PCI_MSIX_IRQ_INDEX = 2;
constexpr uint32_t VFIO_PCI_ERR_IRQ_INDEX = 3;
constexpr uint32_t VFIO_PCI_REQ_IRQ_INDEX = 4;
constexpr uint32_t VFIO_PCI_NUM_IRQS = 5;

struct vfio_irq_info {
  uint32_t argsz;
  uint32_t flags;
  uint32_t index;
  uint32_t count;
};
static_assert(sizeof(vfio_irq_info) == 16 && offsetof(vfio_irq_info, count) == 12);

constexpr uint32_t VFIO_IRQ_INFO_EVENTFD = 1U << 0;
constexpr uint32_t VFIO_IRQ_INFO_MASKABLE = 1U << 1;
constexpr uint32_t VFIO_IRQ_INFO_AUTOMASKED = 1U << 2;
constexpr uint32_t VFIO_IRQ_INFO_NORESIZE = 1U << 3;

// The flags are one kind of data and one action. Followed by data for each of the `count` vectors from `start` on:
// none, a byte, or an int32_t with an eventfd.
struct vfio_irq_set {
  uint32_t argsz;
  uint32_t flags;
  uint32_t index;
  uint32_t start;
  uint32_t count;
};
static_assert(sizeof(vfio_irq_set) == 20 && offsetof(vfio_irq_set, count) == 16);

constexpr uint32_t VFIO_IRQ_SET_DATA_NONE = 1U << 0;
constexpr uint32_t VFIO_IRQ_SET_DATA_BOOL = 1U << 1;
constexpr uint32_t VFIO_IRQ_SET_DATA_EVENTFD = 1U << 2;
constexpr uint32_t VFIO_IRQ_SET_DATA_TYPE_MASK = 7;
constexpr uint32_t VFIO_IRQ_SET_ACTION_MASK = 1U << 3;
constexpr uint32_t VFIO_IRQ_SET_ACTION_UNMASK = 1U << 4;
constexpr uint32_t VFIO_IRQ_SET_ACTION_TRIGGER = 1U << 5;
constexpr uint32_t VFIO_IRQ_SET_ACTION_TYPE_MASK = 0x38;

// Makes the kernel write `data` at the file offset `offset` each time the eventfd `fd` is signaled. fd -1 removes it.
struct vfio_device_ioeventfd {
  uint32_t argsz;
  uint32_t flags;
  uint64_t offset;
  uint64_t data;
  int32_t fd;
  uint32_t reserved;
};
static_assert(sizeof(vfio_device_ioeventfd) == 32 && offsetof(vfio_device_ioeventfd, fd) == 24);

constexpr uint32_t VFIO_DEVICE_IOEVENTFD_SIZE_MASK = 0xf;  // the width in bytes: 1, 2, 4 or 8

// A device that a hot reset also resets. With VFIO_PCI_HOT_RESET_FLAG_DEV_ID, `devid` is its id in the iommufd of the
// device that was queried, or one of the two values below as a signed number. Without the flag, it is its group's
// number.
struct vfio_pci_dependent_device {
  uint32_t devid;
  uint16_t segment;
  uint8_t bus;
  uint8_t devfn;
};
static_assert(sizeof(vfio_pci_dependent_device) == 8);

constexpr int32_t VFIO_PCI_DEVID_OWNED = 0;       // not bound to this iommufd, but in a group that this iommufd owns
constexpr int32_t VFIO_PCI_DEVID_NOT_OWNED = -1;  // not owned by this iommufd: the kernel refuses the reset

// Followed by `count` dependent devices.
struct vfio_pci_hot_reset_info {
  uint32_t argsz;
  uint32_t flags;
  uint32_t count;
};
static_assert(sizeof(vfio_pci_hot_reset_info) == 12);

constexpr uint32_t VFIO_PCI_HOT_RESET_FLAG_DEV_ID = 1U << 0;
constexpr uint32_t VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED = 1U << 1;

// Followed by `count` group fds, each an int32_t. For a device that was opened by its cdev, `count` is 0.
struct vfio_pci_hot_reset {
  uint32_t argsz;
  uint32_t flags;
  uint32_t count;
};
static_assert(sizeof(vfio_pci_hot_reset) == 12);

struct vfio_device_bind_iommufd {
  uint32_t argsz;
  uint32_t flags;
  int32_t iommufd;
  uint32_t out_devid;
  uint64_t token_uuid_ptr;
};
static_assert(sizeof(vfio_device_bind_iommufd) == 24 && offsetof(vfio_device_bind_iommufd, out_devid) == 12);

// token_uuid_ptr is the address of 16 bytes, the VF token.
constexpr uint32_t VFIO_DEVICE_BIND_FLAG_TOKEN = 1U << 0;

// pt_id, in: an IOAS or a HWPT; out: the HWPT that the device now uses.
struct vfio_device_attach_iommufd_pt {
  uint32_t argsz;
  uint32_t flags;
  uint32_t pt_id;
  uint32_t pasid;
};
static_assert(sizeof(vfio_device_attach_iommufd_pt) == 16 && offsetof(vfio_device_attach_iommufd_pt, pt_id) == 8);

constexpr uint32_t VFIO_DEVICE_ATTACH_PASID = 1U << 0;

struct vfio_device_detach_iommufd_pt {
  uint32_t argsz;
  uint32_t flags;
  uint32_t pasid;
};
static_assert(sizeof(vfio_device_detach_iommufd_pt) == 12);

constexpr uint32_t VFIO_DEVICE_DETACH_PASID = 1U << 0;

// Followed by the feature's own payload.
struct vfio_device_feature {
  uint32_t argsz;
  uint32_t flags;
};
static_assert(sizeof(vfio_device_feature) == 8);

constexpr uint32_t VFIO_DEVICE_FEATURE_MASK = 0xffff;
constexpr uint32_t VFIO_DEVICE_FEATURE_GET = 1U << 16;
constexpr uint32_t VFIO_DEVICE_FEATURE_SET = 1U << 17;
constexpr uint32_t VFIO_DEVICE_FEATURE_PROBE = 1U << 18;

constexpr uint32_t VFIO_DEVICE_FEATURE_PCI_VF_TOKEN = 0;
constexpr uint32_t VFIO_DEVICE_FEATURE_MIGRATION = 1;
constexpr uint32_t VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE = 2;
constexpr uint32_t VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY = 3;
constexpr uint32_t VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP = 4;
constexpr uint32_t VFIO_DEVICE_FEATURE_LOW_POWER_EXIT = 5;
constexpr uint32_t VFIO_DEVICE_FEATURE_DMA_LOGGING_START = 6;
constexpr uint32_t VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP = 7;
constexpr uint32_t VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT = 8;
constexpr uint32_t VFIO_DEVICE_FEATURE_MIG_DATA_SIZE = 9;
constexpr uint32_t VFIO_DEVICE_FEATURE_BUS_MASTER = 10;
constexpr uint32_t VFIO_DEVICE_FEATURE_DMA_BUF = 11;
constexpr uint32_t VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2 = 12;
constexpr uint32_t VFIO_DEVICE_FEATURE_ZPCI_ERROR = 13;

// The kernel signals the eventfd if anything but LOW_POWER_EXIT wakes the device.
struct vfio_device_low_power_entry_with_wakeup {
  int32_t wakeup_eventfd;
  uint32_t reserved;
};
static_assert(sizeof(vfio_device_low_power_entry_with_wakeup) == 8);

struct vfio_device_feature_bus_master {
  uint32_t op;
};
static_assert(sizeof(vfio_device_feature_bus_master) == 4);

constexpr uint32_t VFIO_DEVICE_FEATURE_CLEAR_MASTER = 0;
constexpr uint32_t VFIO_DEVICE_FEATURE_SET_MASTER = 1;

struct vfio_device_feature_zpci_err {
  uint64_t data;
};
static_assert(sizeof(vfio_device_feature_zpci_err) == 8);

struct vfio_region_dma_range {
  uint64_t offset;
  uint64_t length;
};
static_assert(sizeof(vfio_region_dma_range) == 16);

// Followed by nr_ranges ranges. The ioctl returns the new dma-buf's fd.
struct vfio_device_feature_dma_buf {
  uint32_t region_index;
  uint32_t open_flags;
  uint32_t flags;
  uint32_t nr_ranges;
};
static_assert(sizeof(vfio_device_feature_dma_buf) == 16 && offsetof(vfio_device_feature_dma_buf, nr_ranges) == 12);

// The migration features of a device.
struct vfio_device_feature_migration {
  uint64_t flags;
};
static_assert(sizeof(vfio_device_feature_migration) == 8);

constexpr uint64_t VFIO_MIGRATION_STOP_COPY = 1U << 0;
constexpr uint64_t VFIO_MIGRATION_P2P = 1U << 1;
constexpr uint64_t VFIO_MIGRATION_PRE_COPY = 1U << 2;

// device_state, in: the new state; out: the state that the device is in. data_fd, out: the new fd for the transfer of
// the device's data, or -1.
struct vfio_device_feature_mig_state {
  uint32_t device_state;
  int32_t data_fd;
};
static_assert(sizeof(vfio_device_feature_mig_state) == 8);

constexpr uint32_t VFIO_DEVICE_STATE_ERROR = 0;
constexpr uint32_t VFIO_DEVICE_STATE_STOP = 1;
constexpr uint32_t VFIO_DEVICE_STATE_RUNNING = 2;
constexpr uint32_t VFIO_DEVICE_STATE_STOP_COPY = 3;
constexpr uint32_t VFIO_DEVICE_STATE_RESUMING = 4;
constexpr uint32_t VFIO_DEVICE_STATE_RUNNING_P2P = 5;
constexpr uint32_t VFIO_DEVICE_STATE_PRE_COPY = 6;
constexpr uint32_t VFIO_DEVICE_STATE_PRE_COPY_P2P = 7;

struct vfio_precopy_info {
  uint32_t argsz;
  uint32_t flags;
  uint64_t initial_bytes;
  uint64_t dirty_bytes;
};
static_assert(sizeof(vfio_precopy_info) == 24 && offsetof(vfio_precopy_info, initial_bytes) == 8);

constexpr uint32_t VFIO_PRECOPY_INFO_REINIT = 1U << 0;

struct vfio_device_feature_mig_data_size {
  uint64_t stop_copy_length;
};
static_assert(sizeof(vfio_device_feature_mig_data_size) == 8);

// Starts to log the pages that a device writes to. `ranges` is the address of num_ranges ranges. page_size, out: the
// page size that the device uses.
struct vfio_device_feature_dma_logging_control {
  uint64_t page_size;
  uint32_t num_ranges;
  uint32_t __reserved;
  uint64_t ranges;
};
static_assert(sizeof(vfio_device_feature_dma_logging_control) == 24 &&
              offsetof(vfio_device_feature_dma_logging_control, ranges) == 16);

struct vfio_device_feature_dma_logging_range {
  uint64_t iova;
  uint64_t length;
};
static_assert(sizeof(vfio_device_feature_dma_logging_range) == 16);

// Reads and clears the log: a bit of `bitmap` (the address of 64-bit words) for each page_size bytes from `iova` on.
struct vfio_device_feature_dma_logging_report {
  uint64_t iova;
  uint64_t length;
  uint64_t page_size;
  uint64_t bitmap;
};
static_assert(sizeof(vfio_device_feature_dma_logging_report) == 32 &&
              offsetof(vfio_device_feature_dma_logging_report, bitmap) == 24);

// The image on a plane of a virtual display. In: flags and drm_plane_type; out: the other fields.
struct vfio_device_gfx_plane_info {
  uint32_t argsz;
  uint32_t flags;
  uint32_t drm_plane_type;
  uint32_t drm_format;
  uint64_t drm_format_mod;
  uint32_t width;
  uint32_t height;
  uint32_t stride;
  uint32_t size;
  uint32_t x_pos;
  uint32_t y_pos;
  uint32_t x_hot;
  uint32_t y_hot;
  union {
    uint32_t region_index;
    uint32_t dmabuf_id;
  };
  uint32_t reserved;
};
static_assert(sizeof(vfio_device_gfx_plane_info) == 64 && offsetof(vfio_device_gfx_plane_info, width) == 24 &&
              offsetof(vfio_device_gfx_plane_info, region_index) == 56);

constexpr uint32_t VFIO_GFX_PLANE_TYPE_PROBE = 1U << 0;
constexpr uint32_t VFIO_GFX_PLANE_TYPE_DMABUF = 1U << 1;
constexpr uint32_t VFIO_GFX_PLANE_TYPE_REGION = 1U << 2;

constexpr uint32_t VFIO_REGION_SUBTYPE_GFX_EDID = 1;

// The start of the region with type GFX and subtype EDID: registers of a virtual monitor. The EDID is at edid_offset of
// the region.
struct vfio_region_gfx_edid {
  uint32_t edid_offset;
  uint32_t edid_max_size;
  uint32_t edid_size;
  uint32_t max_xres;
  uint32_t max_yres;
  uint32_t link_state;
};
static_assert(sizeof(vfio_region_gfx_edid) == 24);

constexpr uint32_t VFIO_DEVICE_GFX_LINK_STATE_UP = 1;
constexpr uint32_t VFIO_DEVICE_GFX_LINK_STATE_DOWN = 2;

}  // namespace uapi
