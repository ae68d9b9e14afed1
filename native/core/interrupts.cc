// VFIO_DEVICE_SET_IRQS and VFIO_DEVICE_IOEVENTFD, and the counts of eventfds.
#include "core/interrupts.h"

#include <poll.h>

#include <cerrno>
#include <cstring>

namespace core {
namespace {

void Set(const Fd& device, uint32_t data_type, const IrqSet& set, uint32_t count, const void* data, std::size_t size) {
  std::vector<uint8_t> bytes(sizeof(uapi::vfio_irq_set) + size);
  const uapi::vfio_irq_set header = {.argsz = static_cast<uint32_t>(bytes.size()),
                                     .flags = data_type | set.action,
                                     .index = set.index,
                                     .start = set.start,
                                     .count = count};
  std::memcpy(bytes.data(), &header, sizeof(header));
  if (size > 0) std::memcpy(bytes.data() + sizeof(header), data, size);
  device.Ioctl(VFIO_DMABUF_REQUEST(VFIO_DEVICE_SET_IRQS), bytes.data());
}

}  // namespace

void SetIrqs(const Fd& device, const IrqSet& set, uint32_t count) {
  Set(device, uapi::VFIO_IRQ_SET_DATA_NONE, set, count, nullptr, 0);
}

void SetIrqs(const Fd& device, const IrqSet& set, const std::vector<uint8_t>& chosen) {
  Set(device, uapi::VFIO_IRQ_SET_DATA_BOOL, set, static_cast<uint32_t>(chosen.size()), chosen.data(), chosen.size());
}

void SetIrqs(const Fd& device, const IrqSet& set, const std::vector<int32_t>& eventfds) {
  Set(device, uapi::VFIO_IRQ_SET_DATA_EVENTFD, set, static_cast<uint32_t>(eventfds.size()), eventfds.data(),
      eventfds.size() * sizeof(int32_t));
}

void SetIoeventfd(const Fd& device, const EventWrite& write, int32_t eventfd) {
  device.Call(
      VFIO_DMABUF_REQUEST(VFIO_DEVICE_IOEVENTFD),
      uapi::vfio_device_ioeventfd{.flags = write.width, .offset = write.offset, .data = write.data, .fd = eventfd});
}

uint64_t TakeCount(const Fd& eventfd) {
  // An eventfd that this library did not make may block, and others may read it.
  auto& kernel = *eventfd.kernel();
  uint64_t count = 0;
  int64_t read = kernel.ReadNow(eventfd.number(), &count, sizeof(count));
  if (read == -EOPNOTSUPP) {  // an older kernel's eventfd
    if ((Check(kernel.Poll(eventfd.number(), POLLIN), "poll") & POLLIN) == 0) return 0;
    read = kernel.Read(eventfd.number(), &count, sizeof(count));
  }
  if (read == -EAGAIN) return 0;
  Check(read, "preadv2");
  return count;
}

void AddCount(const Fd& eventfd, uint64_t count) { eventfd.Write(&count, sizeof(count)); }

}  // namespace core
