// The list of models by name.
#include "fake/models/model.h"

#include "fake/models/edu.h"
#include "fake/models/nvme.h"
#include "fake/models/register_file.h"

namespace fake {

std::unique_ptr<Model> MakeModel(const std::string& name, DmaPort& port, InterruptPort& interrupts) {
  if (name == "edu") return std::make_unique<Edu>(port, interrupts);
  constexpr uint64_t kBlocks = (64U << 20) / 512;
  const auto nvme = [&](const Nvme::Kind& kind) { return std::make_unique<Nvme>(kind, port, interrupts); };
  if (name == "nvme") return nvme({.cmb = true, .cmb_at_once = true, .blocks = kBlocks});
  if (name == "nvme-cmbmsc") return nvme({.cmb = true, .cmb_at_once = false, .blocks = kBlocks});
  if (name == "nvme-sriov") return nvme({.cmb = false, .cmb_at_once = false, .blocks = 0});
  if (name == "bochs-display") return std::make_unique<RegisterFile>(BochsDisplayRegisters());
  if (name == "sdhci") return std::make_unique<RegisterFile>(SdhciRegisters());
  if (name == "pci-testdev") return std::make_unique<RegisterFile>(std::vector<RegisterBlock>{});
  return nullptr;
}

}  // namespace fake
