// The yardstick: each operation as a bare loop of system calls or volatile accesses. Prints a "NAME NANOSECONDS" line
// for each round.
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

// `count` operations a round; each call of `operation` makes `step` of them.
template <typename Operation>
void Measure(const char* name, int count, int step, const Operation& operation) {
  for (int round = 0; round < kRounds; ++round) {
    const double start = Now();
    for (int i = 0; i < count; i += step) operation(i);
    std::printf("%s %.2f\n", name, (Now() - start) / count);
  }
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

volatile uint32_t* Map(int device, off_t region) {
  void* pages = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, device, region << 40);
  if (pages == MAP_FAILED) Must(-1, "mmap");
  return static_cast<volatile uint32_t*>(pages);
}

void BenchRegisters(int peer) {
  volatile uint32_t* registers = Map(peer, 0);
  volatile uint32_t* liveness = registers + 1;
  uint32_t block[256];
  constexpr int kBlock = std::size(block);
  uint32_t sum = 0;
  *liveness = ~0x1234U;
  Measure("read32", 100000, 1, [&](int) { sum += *liveness; });
  Measure("write32", 100000, 1, [&](int i) { *liveness = static_cast<uint32_t>(i); });
  Measure("read-block", 256000, kBlock, [&](int) { std::copy_n(registers, kBlock, block); });
}

void BenchMemory(int exporter) {
  volatile uint32_t* words = Map(exporter, 2);
  uint32_t block[256];
  constexpr int kBlock = std::size(block);
  uint32_t sum = 0;
  words[2] = 0x1234;
  Measure("load32", 100000, 1, [&](int) { sum += words[2]; });
  Measure("load-block", 256000, kBlock, [&](int) { std::copy_n(words, kBlock, block); });
  Measure("store-block", 256000, kBlock, [&](int) { std::copy_n(block, kBlock, words); });
}

void BenchSync() {
  const int memfd = Must(memfd_create("bench", MFD_CLOEXEC | MFD_ALLOW_SEALING), "memfd_create");
  Must(ftruncate(memfd, 65536), "ftruncate");
  Must(fcntl(memfd, F_ADD_SEALS, F_SEAL_SHRINK), "seal");
  const int driver = Must(open("/dev/udmabuf", O_RDWR | O_CLOEXEC), "/dev/udmabuf");
  uapi::udmabuf_create create = {static_cast<uint32_t>(memfd), uapi::UDMABUF_FLAGS_CLOEXEC, 0, 65536};
  const int buffer = Must(ioctl(driver, uapi::UDMABUF_CREATE, &create), "udmabuf");
  Measure("sync", 20000, 1, [&](int) {
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

  Measure("export", 2000, 1, [&](int) { close(Export(exporter, kCmbSize)); });
  const int buffer = Export(exporter, kCmbSize);
  Measure("map-unmap", 1000, 1, [&](int) {
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
