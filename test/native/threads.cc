// Exercises core and the fake kernel with several threads under ThreadSanitizer (npm run test:tsan). In one round each
// thread has its own device and iommufd, in the next round all threads share them. Without sharing, every call must
// succeed and every byte must arrive. With sharing, some calls may fail, as other threads reset the device, but most
// must succeed.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <barrier>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "core/dma_buf.h"
#include "core/iommufd.h"
#include "core/memory.h"
#include "core/vfio.h"
#include "fake/fake_kernel.h"

namespace {

constexpr unsigned kThreads = 4;
constexpr unsigned kRounds = 1000;
constexpr unsigned kTransfers = 8;

constexpr uint64_t kPage = 4096;
constexpr uint64_t kConfig = uint64_t{7} << 40;
constexpr uint64_t kRegisters = 0;  // region 0: the edu model's
constexpr uint64_t kRegistersSize = 1U << 20;
constexpr uint32_t kMemoryRegion = 2;
constexpr uint64_t kMemorySize = 16 * kPage;
constexpr uint32_t kReadWrite = uapi::IOMMU_IOAS_MAP_READABLE | uapi::IOMMU_IOAS_MAP_WRITEABLE;

constexpr uint16_t kCommandOff = 0;
constexpr uint16_t kCommandOn = 0x6;  // memory and bus master
constexpr uint16_t kD0 = 0;
constexpr uint16_t kD3 = 3;
constexpr uint64_t kCommand = kConfig + 0x04;
constexpr uint64_t kPower = kConfig + 0x44;

void Require(bool good, const char* what) {
  if (good) return;
  std::fprintf(stderr, "threads: %s\n", what);
  std::_Exit(1);
}

// The numbers of calls on shared objects that succeeded, and that failed with an allowed error.
std::atomic<unsigned> succeeded = 0;
std::atomic<unsigned> refused = 0;

// Returns the errno, or 0.
template <typename Work>
int Try(const Work& work) {
  try {
    work();
    ++succeeded;
    return 0;
  } catch (const core::Failure& failure) {
    ++refused;
    return failure.error;
  }
}

fake::MachineDescription MakeMachine() {
  using Kind = fake::BarDescription::Kind;
  fake::MachineDescription machine;
  for (unsigned i = 0; i <= kThreads; ++i) {  // the last is shared
    fake::DeviceDescription device = {.address = std::to_string(i), .cdev = "vfio" + std::to_string(i), .model = "edu"};
    device.group = i;
    device.config.resize(256);
    device.config_writable.resize(256);
    device.config[0x34] = 0x40;  // a power management capability
    device.config[0x40] = 0x01;
    device.config_writable[0x04] = 0x7;
    device.config_writable[0x44] = 0x3;
    device.bars[0] = {Kind::kRegisters, kRegistersSize};
    device.bars[kMemoryRegion] = {Kind::kMemory, kMemorySize};
    machine.devices.push_back(std::move(device));
  }
  return machine;
}

std::shared_ptr<core::Fd> OpenDevice(const std::shared_ptr<kernel::Kernel>& kernel, unsigned number) {
  return core::Fd::Open(kernel, ("/dev/vfio/devices/vfio" + std::to_string(number)).c_str(), O_RDWR);
}

void WriteConfig(core::VfioDevice& device, uint64_t offset, uint16_t value) {
  device.Write(offset, &value, sizeof(value));
}

// Transfers one page between the engine's buffer and an IOVA.
void Transfer(const core::Mapping& registers, uint64_t iova, bool to_memory) {
  constexpr uint64_t kBuffer = 0x40000;
  const std::pair<std::size_t, uint64_t> values[] = {
      {0x80, to_memory ? kBuffer : iova}, {0x88, to_memory ? iova : kBuffer}, {0x90, kPage}, {0x98, to_memory ? 3 : 1}};
  for (const auto& [offset, value] : values) static_cast<void>(registers.Store(offset, value));
}

// The objects that all threads use.
struct Shared {
  std::shared_ptr<fake::FakeKernel> kernel;
  std::shared_ptr<core::Fd> iommufd;
  std::shared_ptr<core::Ioas> ioas;
  std::shared_ptr<core::VfioDevice> device;
  std::shared_ptr<core::Mapping> registers;
  std::shared_ptr<core::Fd> buffer;  // of all its memory
};

Shared MakeShared() {
  Shared shared;
  shared.kernel = std::make_shared<fake::FakeKernel>(MakeMachine(), std::filesystem::temp_directory_path());
  shared.iommufd = core::Fd::Open(shared.kernel, "/dev/iommu", O_RDWR);
  shared.ioas = core::Ioas::Allocate(shared.iommufd);
  shared.device = std::make_shared<core::VfioDevice>(OpenDevice(shared.kernel, kThreads), "");
  shared.device->Bind(shared.iommufd);
  shared.device->Attach(shared.ioas->id());
  WriteConfig(*shared.device, kCommand, kCommandOn);
  shared.registers = shared.device->Map(kRegisters, kRegistersSize, PROT_READ | PROT_WRITE);
  shared.buffer = shared.device->ExportDmaBuf(kMemoryRegion, {{0, kMemorySize}});
  return shared;
}

// Uses a device from open to close on one thread, while other threads use theirs. `iommufd` and `ioas` may be shared.
void UseOwnDevice(const Shared& shared, unsigned thread, const std::shared_ptr<core::Fd>& iommufd,
                  const core::Ioas& ioas) {
  const auto& kernel = shared.kernel;
  const uint64_t iova = (uint64_t{thread} + 1) << 32;  // unique to this thread in any IOAS
  core::VfioDevice device(OpenDevice(kernel, thread), "");
  device.Bind(iommufd);
  device.Attach(ioas.id());
  WriteConfig(device, kCommand, kCommandOn);
  Require(device.GetInfo().info.num_regions > kMemoryRegion, "a device without regions");

  const auto memory = core::Memory::Allocate(kernel, 2 * kPage, 0);
  auto* bytes = static_cast<uint8_t*>(memory.mapping->address());
  ioas.MapFile(memory.fd->number(), 0, kPage, {iova, kReadWrite});
  ioas.Map(bytes + kPage, kPage, {iova + kPage, kReadWrite});
  const auto buffer = device.ExportDmaBuf(kMemoryRegion, {{kPage, kPage}});
  ioas.MapFile(buffer->number(), 0, kPage, {iova + 2 * kPage, kReadWrite});
  const auto registers = device.Map(kRegisters, kRegistersSize, PROT_READ | PROT_WRITE);

  for (unsigned i = 0; i < kTransfers; ++i) {
    std::memset(bytes, static_cast<int>(thread * kTransfers + i + 1), kPage);
    Transfer(*registers, iova, false);
    Transfer(*registers, iova + 2 * kPage, true);  // to the device's own memory, and back elsewhere
    Transfer(*registers, iova + 2 * kPage, false);
    Transfer(*registers, iova + kPage, true);
    Require(std::memcmp(bytes, bytes + kPage, kPage) == 0, "a transfer lost bytes");
  }

  device.Reset(*device.BeginRevoking());  // the engine reads zeros from the revoked import
  Transfer(*registers, iova + 2 * kPage, false);
  Transfer(*registers, iova + kPage, true);
  Require(bytes[kPage] == 0, "a transfer from a revoked buffer");
  Require(ioas.Unmap(iova, 3 * kPage) == 3 * kPage, "unmapped too little");

  // A duplicate that is made and closed without the fake kernel's knowledge. The fake kernel finds it only by a check.
  const int duplicate = dup(buffer->number());
  registers->Retire();
  device.Detach();
  close(duplicate);
}

// Uses the shared device, IOAS, dma-buf and mapping, through shared objects and through the thread's own.
void UseSharedDevice(const Shared& shared, unsigned thread, unsigned round) {
  const auto& [kernel, iommufd, ioas, device, registers, whole] = shared;
  core::VfioDevice own(core::Fd::Duplicate(kernel, device->fd().number()), "");
  const uint64_t iova = (uint64_t{thread} + 1) << 32;
  const uint64_t page = thread * kPage;  // each thread has its own page of the device's memory

  const auto mapped = own.Map(kRegisters, kPage, PROT_READ | PROT_WRITE);
  const auto memory = own.Map((uint64_t{kMemoryRegion} << 40) + page, kPage, PROT_READ | PROT_WRITE);
  for (unsigned i = 0; i < kTransfers; ++i) {
    uint32_t ignored = 0;
    static_cast<void>(registers->Store<uint32_t>(0x04, i));
    static_cast<void>(mapped->Load<uint32_t>(0x04, &ignored));
    if (memory->enabled()) static_cast<void>(memory->Store<uint32_t>(0, i));
    Transfer(*mapped, iova, (i & 1) != 0);
    Try([&] {
      uint32_t value = 0;
      own.Read((uint64_t{kMemoryRegion} << 40) + page, &value, sizeof(value));
    });
  }

  std::shared_ptr<core::Fd> buffer;
  Try([&] { buffer = device->ExportDmaBuf(kMemoryRegion, {{page, kPage}}); });
  Try([&] { ioas->MapFile(buffer->number(), 0, kPage, {iova, kReadWrite}); });
  Try([&] { ioas->MapFile(whole->number(), page, kPage, {iova + kPage, kReadWrite}); });
  Transfer(*registers, iova + kPage, true);
  Try([&] { core::DmaBufSetName(*whole, "thread" + std::to_string(thread)); });
  Require(core::DmaBufSize(*whole) == kMemorySize && core::IsDmaBuf(*buffer), "a dma-buf that is none");
  Require(core::DmaBufFdinfo(*whole).starts_with("size:"), "no fdinfo");
  const auto known = core::Export::Find(*whole);
  Require(known && known->ranges() == 1, "the export is forgotten");
  core::DmaBufSync(*whole, uapi::DMA_BUF_SYNC_READ | uapi::DMA_BUF_SYNC_START);

  auto& any = round % 2 == 0 ? *device : own;
  switch ((thread + round) % 4) {
    case 0:
      any.Reset(*any.BeginRevoking());
      break;
    case 1:
      WriteConfig(any, kCommand, kCommandOff);
      WriteConfig(any, kCommand, kCommandOn);
      break;
    case 2:
      WriteConfig(any, kPower, kD3);
      WriteConfig(any, kPower, kD0);
      any.HotReset({}, {});
      break;
    default:
      Try([&] { any.Detach(); });
      Try([&] { any.Attach(ioas->id()); });
  }
  Try([&] { ioas->Unmap(iova, kPage); });
  Try([&] { ioas->Unmap(iova + kPage, kPage); });
  ioas->GetIovaRanges();
  kernel->TakeFaults();

  // Closes the last fd of a buffer without the fake kernel's knowledge, while other threads check for such buffers.
  const int last = dup(buffer->number());
  buffer.reset();
  close(last);
  Require(kernel->OpenFiles() > 0, "no open files");
}

void Run(const Shared& shared, unsigned thread) {
  for (unsigned round = 0; round < kRounds; ++round) {
    const auto iommufd = core::Fd::Open(shared.kernel, "/dev/iommu", O_RDWR);
    UseOwnDevice(shared, thread, iommufd, *core::Ioas::Allocate(iommufd));
    UseOwnDevice(shared, thread, shared.iommufd, *core::Ioas::Allocate(shared.iommufd));
    UseSharedDevice(shared, thread, round);
  }
}

}  // namespace

int main() {
  auto shared = std::make_unique<Shared>(MakeShared());
  const auto kernel = shared->kernel;
  std::barrier start(kThreads);
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([copy = *shared, i, &start] {
      start.arrive_and_wait();
      try {
        Run(copy, i);
      } catch (const core::Failure& failure) {
        std::fprintf(stderr, "%s\n", std::strerror(failure.error));
        Require(false, failure.ioctl ? failure.ioctl : failure.syscall);
      }
    });
  }
  shared.reset();  // the last thread to end releases the objects
  for (auto& thread : threads) thread.join();
  threads.clear();
  Require(kernel->OpenFiles() == 0, "files are left open");
  Require(succeeded > refused, "most calls on what is shared failed");
  std::printf("%u threads, %u rounds each: on what they shared, %u calls succeeded and %u were refused\n", kThreads,
              kRounds, succeeded.load(), refused.load());
}
