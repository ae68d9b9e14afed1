// Reads the text form of a machine: words between spaces and line ends, in the order of the fields. Numbers are hex
// without 0x; bytes are hex digits; '-' is an empty word; a list begins with its length.
#include "fake/machine.h"

#include <charconv>
#include <sstream>
#include <stdexcept>
#include <string_view>

namespace fake {
namespace {

constexpr std::string_view kFirstWord = "vfio-dmabuf-machine-1";
constexpr uint64_t kLongestList = 4096;

class Words {
 public:
  explicit Words(const std::string& text) : words_(text) {}

  std::string Word() {
    std::string word;
    if (!(words_ >> word)) throw std::invalid_argument("the description of the machine is cut off");
    return word == "-" ? "" : word;
  }
  uint64_t Number() {
    const std::string word = Word();
    uint64_t number = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number, 16);
    if (error != std::errc{} || end != word.data() + word.size()) throw std::invalid_argument("not a number: " + word);
    return number;
  }
  uint32_t Number32() { return static_cast<uint32_t>(Number()); }
  std::vector<uint8_t> Bytes() {
    const std::string word = Word();
    std::vector<uint8_t> bytes(word.size() / 2);
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      const char* digits = word.data() + 2 * i;
      if (std::from_chars(digits, digits + 2, bytes[i], 16).ptr != digits + 2) {
        throw std::invalid_argument("not bytes: " + word);
      }
    }
    return bytes;
  }
  template <typename ReadOne>
  auto List(ReadOne read_one) {
    const uint64_t count = Number();
    if (count > kLongestList) throw std::invalid_argument("a list of the machine is too long");
    std::vector<decltype(read_one())> list;
    list.reserve(count);
    for (uint64_t i = 0; i < count; ++i) list.push_back(read_one());
    return list;
  }

 private:
  std::istringstream words_;
};

BarDescription::Kind ToKind(const std::string& kind) {
  using Kind = BarDescription::Kind;
  if (kind == "memory") return Kind::kMemory;
  if (kind == "registers") return Kind::kRegisters;
  return kind == "io" ? Kind::kIoPort : Kind::kNone;
}

std::vector<InfoCapability> ReadCapabilities(Words& words) {
  return words.List([&] {
    InfoCapability capability;
    capability.id = static_cast<uint16_t>(words.Number());
    capability.version = static_cast<uint16_t>(words.Number());
    capability.data = words.Bytes();
    return capability;
  });
}

DeviceDescription ReadDevice(Words& words) {
  DeviceDescription device;
  device.address = words.Word();
  device.cdev = words.Word();
  device.syspath = words.Word();
  device.model = words.Word();
  device.config = words.Bytes();
  device.config_writable = words.Bytes();
  device.config_writable.resize(device.config.size());
  for (auto& bar : device.bars) {
    bar.kind = ToKind(words.Word());
    bar.size = words.Number();
  }
  device.rom_size = words.Number();
  for (auto& irq : device.irqs) {
    irq.flags = words.Number32();
    irq.count = words.Number32();
  }
  if (words.Number() != 0) {
    const uint32_t bar = words.Number32();
    const uint64_t offset = words.Number();
    device.msix = {bar, offset, words.Number()};
  }
  device.group = words.Number32();
  device.virtual_functions = words.Number32();
  device.physical = words.Word();
  device.capabilities = ReadCapabilities(words);
  for (uint32_t bar = 0; bar < kBars; ++bar) device.region_capabilities[bar] = ReadCapabilities(words);
  return device;
}

}  // namespace

MachineDescription ReadMachine(const std::string& text) {
  Words words(text);
  if (words.Word() != kFirstWord) throw std::invalid_argument("not the description of a machine");
  MachineDescription machine;
  machine.iommufd = words.Number() != 0;
  machine.iommu.last_iova = words.Number();
  machine.iommu.alignment = 4096;
  machine.iommu.capability = words.Number();
  machine.iommu.extended_capability = words.Number();
  machine.iommu.reserved = words.List([&] {
    const uint64_t start = words.Number();
    return uapi::iommu_iova_range{start, words.Number()};
  });
  machine.devices = words.List([&] { return ReadDevice(words); });
  machine.mdevs = words.List([&] {
    std::string cdev = words.Word();
    return MdevDescription{std::move(cdev), words.Word()};
  });
  return machine;
}

}  // namespace fake
