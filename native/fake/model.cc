#include "fake/model.h"

#include "fake/edu.h"
#include "fake/register_file.h"

namespace fake {

std::unique_ptr<Model> MakeModel(const std::string& name, DmaPort& port, InterruptPort& interrupts) {
  if (name == "edu") return std::make_unique<Edu>(port, interrupts);
  if (name == "nvme") return std::make_unique<RegisterFile>(NvmeRegisters());
  if (name == "bochs-display") return std::make_unique<RegisterFile>(BochsDisplayRegisters());
  if (name == "nvme-sriov") return std::make_unique<RegisterFile>(NvmeRegistersWithoutCmb());
  if (name == "sdhci") return std::make_unique<RegisterFile>(SdhciRegisters());
  if (name == "pci-testdev") return std::make_unique<RegisterFile>(std::vector<RegisterBlock>{});
  return nullptr;
}

}  // namespace fake
