// A PCI device as the machine describes it: plain data from TypeScript (lib/fake/machine.ts).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "fake/pci/interrupts.h"
#include "fake/vfio/info_capabilities.h"
#include "uapi/vfio.h"

namespace fake {

constexpr unsigned kBars = 6;

struct BarDescription {
  enum class Kind { kNone, kMemory, kRegisters, kIoPort };
  Kind kind = Kind::kNone;
  uint64_t size = 0;
};

struct DeviceDescription {
  std::string address;                   // "0000:01:00.0"
  std::string cdev;                      // "vfio0"
  std::string syspath;                   // its folder below /sys
  std::string model;                     // a name that MakeModel() knows
  std::vector<uint8_t> config;           // 256 or 4096 bytes, as vfio-pci shows them after open
  std::vector<uint8_t> config_writable;  // a bit is set where a write takes effect
  std::array<BarDescription, kBars> bars;
  uint64_t rom_size = 0;
  Interrupts::Indices irqs;
  struct MsixTable {
    uint32_t bar;
    uint64_t offset;
    uint64_t size;
  };
  std::optional<MsixTable> msix;
  uint32_t group = 0;                        // its IOMMU group
  bool firmware_region = false;              // whether its group has a reserved region of type `direct`
  uint32_t virtual_functions = 0;            // how many it has
  std::string physical;                      // the physical function's address, of a virtual one
  std::vector<InfoCapability> capabilities;  // VFIO_DEVICE_GET_INFO's
  std::map<uint32_t, std::vector<InfoCapability>> region_capabilities;  // by region
};

}  // namespace fake
