// The yardstick: each operation as a bare loop of system calls or volatile accesses. Prints "NAME NANOSECONDS" lines.
//   bench CDEV-OF-EXPORTER CDEV-OF-PEER
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <iterator>
#include <limits>

#include "uapi/dma_buf.h"
#include "uapi/iommufd.h"
#include "uapi/udmabuf.h"
#include "uapi/vfio.h"

namespace {

constexpr int kRounds = 5;
constexpr uint64_t kCmbSize = uint64_t{16} << 20;
constexpr uint64_t kIova = 0x10000000;

int Must(int result, const char* what) {
  if (result < 0) {
    std::perror(what);
    std::exit(1);
  }
  return result;
}

double Now() {
  timespec time = {};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

// The fastest of a few rounds: what disturbs a round only makes it slower.
template <typename Operation>
void Measure(const char* name, int count, const Operation& operation) {
  double best = std::numeric_limits<double>::max();
  for (int round = 0; round < kRounds; ++round) {
    const double start = Now();
    for (int i = 0; i < count; ++i) operation(i);
    best = std::min(best, (Now() - start) / count);
  }
  std::printf("%s %.1f\n", name, best);
}

int Open(const char* cdev, int iommufd) {
  const int fd = Must(open(cdev, O_RDWR | O_CLOEXEC), cdev);
  uapi::vfio_device_bind_iommufd bind = {.argsz = sizeof(bind), .iommufd = iommufd};
  Must(ioctl(fd, uapi::VFIO_DEVICE_BIND_IOMMUFD, &bind), "bind");
  return fd;
}

int Export(int device, uint64_t length) {
  struct {
    uapi::vfio_device_feature feature;
    uapi::vfio_device_feature_dma_buf request;
    uapi::vfio_region_dma_range range;
  } command = {{sizeof(command), uapi::VFIO_DEVICE_FEATURE_GET | uapi::VFIO_DEVICE_FEATURE_DMA_BUF},
               {2, O_RDWR | O_CLOEXEC, 0, 1},
               {0, length}};
  return Must(ioctl(device, uapi::VFIO_DEVICE_FEATURE, &command), "export");
}

void BenchRegisters(int peer) {
  void* pages = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, peer, 0);
  if (pages == MAP_FAILED) Must(-1, "mmap");
  auto* liveness = reinterpret_cast<volatile uint32_t*>(static_cast<char*>(pages) + 4);
  uint32_t sum = 0;
  Measure("read32", 100000, [&](int) { sum += *liveness; });
  Measure("write32", 100000, [&](int i) { *liveness = static_cast<uint32_t>(i); });
  uint32_t block[256];
  auto* registers = static_cast<volatile uint32_t*>(pages);
  Measure("read-block", 1000, [&](int) { std::copy_n(registers, std::size(block), block); });
  munmap(pages, 4096);
}

void BenchMemory(int exporter) {
  void* pages = mmap(nullptr, 4096, PROT_READ, MAP_SHARED, exporter, off_t{2} << 40);
  if (pages == MAP_FAILED) Must(-1, "mmap");
  auto* word = reinterpret_cast<volatile uint32_t*>(static_cast<char*>(pages) + 8);
  uint32_t sum = 0;
  Measure("load32", 100000, [&](int) { sum += *word; });
  munmap(pages, 4096);
}

void BenchSync() {
  const int memfd = Must(memfd_create("bench", MFD_CLOEXEC | MFD_ALLOW_SEALING), "memfd_create");
  Must(ftruncate(memfd, 65536), "ftruncate");
  Must(fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK), "seal");
  const int driver = Must(open("/dev/udmabuf", O_RDWR | O_CLOEXEC), "/dev/udmabuf");
  uapi::udmabuf_create create = {static_cast<uint32_t>(memfd), uapi::UDMABUF_FLAGS_CLOEXEC, 0, 65536};
  const int buffer = Must(ioctl(driver, uapi::UDMABUF_CREATE, &create), "udmabuf");
  Measure("sync", 20000, [&](int) {
    uapi::dma_buf_sync sync = {uapi::DMA_BUF_SYNC_RW | uapi::DMA_BUF_SYNC_START};
    ioctl(buffer, uapi::DMA_BUF_IOCTL_SYNC, &sync);
    sync.flags = uapi::DMA_BUF_SYNC_RW | uapi::DMA_BUF_SYNC_END;
    ioctl(buffer, uapi::DMA_BUF_IOCTL_SYNC, &sync);
  });
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) return 2;
  const int iommufd = Must(open("/dev/iommu", O_RDWR | O_CLOEXEC), "/dev/iommu");
  const int exporter = Open(arguments[1], iommufd);
  const int peer = Open(arguments[2], iommufd);
  uapi::iommu_ioas_alloc ioas = {.size = sizeof(ioas)};
  Must(ioctl(iommufd, uapi::IOMMU_IOAS_ALLOC, &ioas), "ioas");
  uapi::vfio_device_attach_iommufd_pt attach = {.argsz = sizeof(attach), .pt_id = ioas.out_ioas_id};
  Must(ioctl(peer, uapi::VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach), "attach");

  Measure("export", 2000, [&](int) { close(Export(exporter, kCmbSize)); });
  const int buffer = Export(exporter, kCmbSize);
  Measure("map-unmap", 1000, [&](int) {
    uapi::iommu_ioas_map_file map = {
        .size = sizeof(map),
        .flags = uapi::IOMMU_IOAS_MAP_FIXED_IOVA | uapi::IOMMU_IOAS_MAP_READABLE | uapi::IOMMU_IOAS_MAP_WRITEABLE,
        .ioas_id = ioas.out_ioas_id,
        .fd = buffer,
        .length = kCmbSize,
        .iova = kIova};
    Must(ioctl(iommufd, uapi::IOMMU_IOAS_MAP_FILE, &map), "map");
    uapi::iommu_ioas_unmap unmap = {
        .size = sizeof(unmap), .ioas_id = ioas.out_ioas_id, .iova = kIova, .length = kCmbSize};
    Must(ioctl(iommufd, uapi::IOMMU_IOAS_UNMAP, &unmap), "unmap");
  });
  BenchRegisters(peer);
  BenchMemory(exporter);
  BenchSync();
}
