// The list of models by name.
#include "fake/pci/make_model.h"

#include "fake/models/edu.h"
#include "fake/models/nvme/nvme.h"
#include "fake/models/register_file.h"

namespace fake {

std::unique_ptr<Model> MakeModel(const std::string& name, const std::string& serial, DmaPort& port,
                                 InterruptPort& interrupts) {
  if (name == "edu") return std::make_unique<Edu>(port, interrupts);
  constexpr uint64_t kDrive = 64U << 20;
  const auto nvme = [&](nvme::Nvme::Kind kind) {
    return std::make_unique<nvme::Nvme>(std::move(kind), serial, port, interrupts);
  };
  if (name == "nvme") return nvme({.cmb = true, .cmb_at_once = true, .namespaces = {kDrive}});
  if (name == "nvme-cmbmsc") return nvme({.cmb = true, .namespaces = {kDrive}});
  if (name == "nvme-sriov") return nvme({.queues = 2, .vectors = 3, .virtual_functions = 2});
  if (name == "bochs-display") return std::make_unique<RegisterFile>(BochsDisplayRegisters());
  if (name == "sdhci") return std::make_unique<RegisterFile>(SdhciRegisters());
  if (name == "pci-testdev") return std::make_unique<RegisterFile>(std::vector<RegisterBlock>{});
  return nullptr;
}

}  // namespace fake
