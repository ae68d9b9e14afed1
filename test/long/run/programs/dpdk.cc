// DPDK's VFIO code drives the engine: its group and container, its memory as the target of DMA.
#include <linux/vfio.h>
#include <rte_eal.h>
#include <rte_malloc.h>
#include <rte_memory.h>
#include <rte_vfio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

static void Check(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "%s failed\n", what);
  std::exit(1);
}

int main(int count, char** arguments) {
  Check(rte_eal_init(count, arguments) >= 0, "rte_eal_init");
  Check(rte_vfio_is_enabled("vfio") == 1, "rte_vfio_is_enabled");
  int device = -1;
  struct vfio_device_info info = {};
  info.argsz = sizeof(info);
  Check(rte_vfio_setup_device("/sys/bus/pci/devices", "0000:03:00.0", &device, &info) == 0, "rte_vfio_setup_device");
  Check(info.num_regions == 9 && (info.flags & VFIO_DEVICE_FLAGS_PCI) != 0, "VFIO_DEVICE_GET_INFO");
  const uint16_t command = 6;  // memory and bus master
  Check(pwrite(device, &command, sizeof(command), (off_t{7} << 40) + 4) == sizeof(command), "pwrite");
  void* mapped = mmap(nullptr, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, device, 0);
  Check(mapped != MAP_FAILED, "mmap");
  auto* registers = static_cast<volatile uint64_t*>(mapped);
  Check(*static_cast<volatile uint32_t*>(mapped) == 0x010000ed, "reading the identification");
  auto* bytes = static_cast<char*>(rte_malloc("engine", 4096, 4096));
  Check(bytes != nullptr, "rte_malloc");
  const uint64_t iova = rte_malloc_virt2iova(bytes);
  std::strcpy(bytes, "moved by the engine");
  registers[0x80 / 8] = iova;
  registers[0x88 / 8] = 0x40000;
  registers[0x90 / 8] = 64;
  registers[0x98 / 8] = 1;
  registers[0x80 / 8] = 0x40000;
  registers[0x88 / 8] = iova + 2048;
  registers[0x98 / 8] = 1 | 2;
  std::printf("%s\n", bytes + 2048);
  Check(rte_vfio_release_device("/sys/bus/pci/devices", "0000:03:00.0", device) == 0, "rte_vfio_release_device");
  return 0;
}
