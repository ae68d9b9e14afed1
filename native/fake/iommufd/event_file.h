// The file of an event queue: the rules are those of drivers/iommu/iommufd/eventq.c.
#pragma once

#include <memory>

#include "fake/files/file.h"
#include "fake/iommufd/iommufd.h"

namespace fake {

// `Queue` has Read, Write, `waiting()`, a Signal `signal` and `kWritable`. The file keeps both alive.
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
    return queue_->signal.Watch();
  }
  std::string Path() override { return Queue::kPath; }

 private:
  std::shared_ptr<Iommufd> iommufd_;
  Use<Queue> queue_;
};

}  // namespace fake
