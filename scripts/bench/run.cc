// Measures what `vfio-dmabuf run` costs a program: an access to registers, an ioctl, and a call for another file.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <vector>

#include "uapi/iommufd.h"
#include "uapi/vfio.h"

static void Require(bool good, const char* what) {
  if (good) return;
  std::perror(what);
  std::exit(1);
}

// The time that this thread has used the processor, so that other programs do not count.
static double Nanoseconds() {
  timespec time = {};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

// Prints the median of several runs, in nanoseconds per call.
template <typename Call>
static void Measure(const char* name, const Call& call) {
  constexpr int kRuns = 9;
  constexpr int kCalls = 5000;
  std::vector<double> times;
  for (int run = 0; run < kRuns; ++run) {
    const double start = Nanoseconds();
    for (int i = 0; i < kCalls; ++i) call();
    times.push_back((Nanoseconds() - start) / kCalls);
  }
  std::ranges::sort(times);
  std::printf("%-58s %9.0f ns\n", name, times[kRuns / 2]);
}

int main(int count, char**) {
  const int zero = open("/dev/zero", O_RDONLY);
  char byte = 0;
  if (count > 1) {
    Measure("read(2) of another file, without vfio-dmabuf run", [&] { Require(read(zero, &byte, 1) == 1, "read"); });
    return 0;
  }
  Measure("read(2) of another file, before a node is opened", [&] { Require(read(zero, &byte, 1) == 1, "read"); });
  const int iommufd = open("/dev/iommu", O_RDWR);
  const int device = open("/dev/vfio/devices/vfio2", O_RDWR);
  uapi::vfio_device_bind_iommufd bind = {};
  bind.argsz = sizeof(bind);
  bind.iommufd = iommufd;
  Require(ioctl(device, uapi::VFIO_DEVICE_BIND_IOMMUFD, &bind) == 0, "VFIO_DEVICE_BIND_IOMMUFD");
  const uint16_t command = 2;
  Require(pwrite(device, &command, 2, (off_t{7} << 40) + 4) == 2, "pwrite");
  void* mapped = mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, device, 0);
  Require(mapped != MAP_FAILED, "mmap");
  auto* registers = static_cast<volatile uint32_t*>(mapped);
  Measure("read(2) of another file, afterwards", [&] { Require(read(zero, &byte, 1) == 1, "read"); });
  Measure("load of a register (mov)", [&] { [[maybe_unused]] const uint32_t value = registers[1]; });
  Measure("store to a register (mov)", [&] { registers[1] = 1; });
  Measure("read-modify-write of a register (or, two faults)", [&] {
    asm volatile("orl $1, 4(%0)" ::"r"(mapped) : "cc");
  });
  uint32_t value = 0;
  Measure("pread(2) of a register", [&] { Require(pread(device, &value, 4, 4) == 4, "pread"); });
  Measure("ioctl(2): IOMMU_IOAS_ALLOC and IOMMU_DESTROY", [&] {
    uapi::iommu_ioas_alloc alloc = {};
    alloc.size = sizeof(alloc);
    Require(ioctl(iommufd, uapi::IOMMU_IOAS_ALLOC, &alloc) == 0, "IOMMU_IOAS_ALLOC");
    uapi::iommu_destroy destroy = {};
    destroy.size = sizeof(destroy);
    destroy.id = alloc.out_ioas_id;
    Require(ioctl(iommufd, uapi::IOMMU_DESTROY, &destroy) == 0, "IOMMU_DESTROY");
  });
  Measure("ioctl(2): VFIO_DEVICE_GET_INFO", [&] {
    uapi::vfio_device_info info = {};
    info.argsz = sizeof(info);
    Require(ioctl(device, uapi::VFIO_DEVICE_GET_INFO, &info) == 0, "VFIO_DEVICE_GET_INFO");
  });
}
