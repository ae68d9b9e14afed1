// A PCI device's config space, as vfio-pci presents it: its bytes, their writable bits, and the effects of writes. The
// rules are those of drivers/vfio/pci/vfio_pci_config.c.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace fake {

class ConfigSpace {
 public:
  // `bytes` as after open; a bit of `writable` is set where a write takes effect.
  ConfigSpace(std::vector<uint8_t> at_open, std::vector<uint8_t> writable);

  std::size_t size() const { return bytes_.size(); }
  bool MemoryEnabled() const;  // the command register's bit, and not in D3hot
  bool BusMaster() const;
  bool CanResetFunction() const;

  int64_t Read(uint64_t offset, void* buffer, std::size_t size) const;
  // `*resets`: whether the write asks for a function-level reset.
  int64_t Write(uint64_t offset, const void* buffer, std::size_t size, bool* resets);
  void Restore() { bytes_ = at_open_; }
  void WakeUp();  // to D0
  // Whether a write concerns the command register or the power state.
  bool IsPower(uint64_t offset, std::size_t size) const;
  uint8_t& operator[](std::size_t at) { return bytes_.at(at); }

  // The capability's offset; 0: there is none.
  std::size_t msi() const { return msi_; }
  std::size_t msix() const { return msix_; }

 private:
  uint16_t Command() const;
  bool HasPowerState(uint8_t state) const;

  std::vector<uint8_t> at_open_;
  std::vector<uint8_t> writable_;
  std::vector<uint8_t> bytes_;
  std::size_t power_control_ = 0;  // offset of the power state; 0: none
  std::size_t msi_ = 0;
  std::size_t msix_ = 0;
  std::size_t express_ = 0;  // offset of the PCI Express capability; 0: none
};

}  // namespace fake
