// The file of an event queue: the rules are those of drivers/iommu/iommufd/eventq.c.
#pragma once

#include <memory>

#include "fake/files/file.h"
#include "fake/iommufd/iommufd.h"

namespace fake {

// `Queue` has Read, Write, `waiting()`, a Readiness `readiness` and `kWritable`. The file keeps both alive.
template <typename Queue>
class EventFile : public File {
 public:
  EventFile(std::shared_ptr<Iommufd> iommufd, std::shared_ptr<Queue> queue)
      : iommufd_(std::move(iommufd)), queue_(std::move(queue)) {}

  int64_t Pread(void*, std::size_t, uint64_t) override { return -ESPIPE; }
  int64_t Pwrite(const void*, std::size_t, uint64_t) override { return -ESPIPE; }
  int64_t Read(void* buffer, std::size_t size) override { return queue_->Read(buffer, size); }
  int64_t Write(const void* buffer, std::size_t size) override { return queue_->Write(buffer, size); }
  int Poll(int events) override {
    return events & ((queue_->waiting() ? POLLIN : 0) | (Queue::kWritable ? POLLOUT : 0));
  }
  int WatchFd(int* events) override {
    if (!Queue::kWritable) *events &= ~POLLOUT;
    return queue_->readiness.Watch(queue_->waiting());
  }
  std::string Path() override { return Queue::kPath; }

 private:
  std::shared_ptr<Iommufd> iommufd_;
  Use<Queue> queue_;
};

// Adds a queue and opens its file: 0, or a negated errno.
template <typename Queue>
int AddQueue(Iommufd& iommufd, const std::shared_ptr<Queue>& queue, const char* name, uint32_t* id, uint32_t* fd) {
  const uint32_t added = iommufd.Add(queue);
  auto file = std::make_shared<EventFile<Queue>>(iommufd.shared_from_this(), queue);
  const int opened = iommufd.table().Install(std::move(file), name);
  if (opened < 0) {
    iommufd.Remove(added);
    return opened;
  }
  *id = added;
  *fd = static_cast<uint32_t>(opened);
  return 0;
}

}  // namespace fake
