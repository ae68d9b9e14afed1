// What the programs of these tests share: a device that is opened and attached, and checks that end the program.
#pragma once

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "uapi/iommufd.h"
#include "uapi/vfio.h"

#define CHECK(condition)                                                                     \
  do {                                                                                       \
    if (!(condition)) {                                                                      \
      std::fprintf(stderr, "%s:%d: %s (errno %d)\n", __FILE__, __LINE__, #condition, errno); \
      std::exit(1);                                                                          \
    }                                                                                        \
  } while (0)

constexpr uint64_t kConfig = uint64_t{uapi::VFIO_PCI_CONFIG_REGION_INDEX} << 40;
constexpr std::size_t kRegistersSize = 1 << 20;

// The edu device of the reference machine.
struct Engine {
  int iommufd;
  int device;
  uint32_t ioas;
  volatile uint8_t* registers;
};

inline Engine OpenEngine() {
  Engine engine = {};
  engine.iommufd = open("/dev/iommu", O_RDWR);
  CHECK(engine.iommufd >= 0);
  engine.device = open("/dev/vfio/devices/vfio2", O_RDWR);
  CHECK(engine.device >= 0);
  uapi::vfio_device_bind_iommufd bind = {};
  bind.argsz = sizeof(bind);
  bind.iommufd = engine.iommufd;
  CHECK(ioctl(engine.device, uapi::VFIO_DEVICE_BIND_IOMMUFD, &bind) == 0);
  uapi::iommu_ioas_alloc alloc = {};
  alloc.size = sizeof(alloc);
  CHECK(ioctl(engine.iommufd, uapi::IOMMU_IOAS_ALLOC, &alloc) == 0);
  engine.ioas = alloc.out_ioas_id;
  uapi::vfio_device_attach_iommufd_pt attach = {};
  attach.argsz = sizeof(attach);
  attach.pt_id = engine.ioas;
  CHECK(ioctl(engine.device, uapi::VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach) == 0);
  const uint16_t command = 0x6;  // memory and bus master
  CHECK(pwrite(engine.device, &command, sizeof(command), kConfig + 4) == sizeof(command));
  void* registers = mmap(nullptr, kRegistersSize, PROT_READ | PROT_WRITE, MAP_SHARED, engine.device, 0);
  CHECK(registers != MAP_FAILED);
  engine.registers = static_cast<volatile uint8_t*>(registers);
  return engine;
}

inline volatile uint32_t& Word(const Engine& engine, std::size_t offset) {
  return *reinterpret_cast<volatile uint32_t*>(engine.registers + offset);
}
inline volatile uint64_t& Long(const Engine& engine, std::size_t offset) {
  return *reinterpret_cast<volatile uint64_t*>(engine.registers + offset);
}

// Maps memory for the device. Returns 0 or an errno.
inline int Map(const Engine& engine, void* memory, std::size_t length, uint64_t iova) {
  uapi::iommu_ioas_map map = {};
  map.size = sizeof(map);
  map.flags = uapi::IOMMU_IOAS_MAP_FIXED_IOVA | uapi::IOMMU_IOAS_MAP_READABLE | uapi::IOMMU_IOAS_MAP_WRITEABLE;
  map.ioas_id = engine.ioas;
  map.user_va = reinterpret_cast<uint64_t>(memory);
  map.length = length;
  map.iova = iova;
  return ioctl(engine.iommufd, uapi::IOMMU_IOAS_MAP, &map) == 0 ? 0 : errno;
}

// Copies bytes with the engine: from an IOVA to its buffer, and from there to another IOVA.
inline void Copy(const Engine& engine, uint64_t from, uint64_t to, uint64_t length) {
  constexpr uint64_t kBuffer = 0x40000;
  Long(engine, 0x80) = from;
  Long(engine, 0x88) = kBuffer;
  Long(engine, 0x90) = length;
  Long(engine, 0x98) = 1;
  Long(engine, 0x80) = kBuffer;
  Long(engine, 0x88) = to;
  Long(engine, 0x98) = 1 | 2;
}
