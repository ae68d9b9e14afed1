// The description of a fake kernel's machine, and its text form. lib/fake/machine-text.ts writes the text; the addon
// and the preload library read it.
#pragma once

#include <string>
#include <vector>

#include "fake/iommu/iommu.h"
#include "fake/mdev/mdev.h"
#include "fake/pci/description.h"

namespace fake {

struct MachineDescription {
  bool iommufd = true;  // whether the kernel has IOMMUFD and VFIO's character devices
  IommuLimits iommu;
  std::vector<DeviceDescription> devices;
  std::vector<MdevDescription> mdevs;
};

// Throws std::invalid_argument if the text is not a machine's.
MachineDescription ReadMachine(const std::string& text);

}  // namespace fake
