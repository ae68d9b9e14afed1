// IOMMUFD's interface, as far as this library speaks it (linux/iommufd.h). Every struct starts with its own size, so
// that old and new kernels understand each other.
#pragma once

#include "uapi/ioctl.h"

namespace uapi {

constexpr unsigned IOMMUFD_TYPE = ';';

constexpr request_t IOMMU_DESTROY = IoctlNone(IOMMUFD_TYPE, 0x80);
constexpr request_t IOMMU_IOAS_ALLOC = IoctlNone(IOMMUFD_TYPE, 0x81);
constexpr request_t IOMMU_IOAS_COPY = IoctlNone(IOMMUFD_TYPE, 0x83);
constexpr request_t IOMMU_IOAS_IOVA_RANGES = IoctlNone(IOMMUFD_TYPE, 0x84);
constexpr request_t IOMMU_IOAS_MAP = IoctlNone(IOMMUFD_TYPE, 0x85);
constexpr request_t IOMMU_IOAS_UNMAP = IoctlNone(IOMMUFD_TYPE, 0x86);
constexpr request_t IOMMU_IOAS_MAP_FILE = IoctlNone(IOMMUFD_TYPE, 0x8f);

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

}  // namespace uapi
