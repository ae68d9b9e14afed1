// The ioctls of sync files and of sw_sync, after drivers/dma-buf/sync_file.c and sw_sync.c.
#include "fake/dma_buf/sync_file.h"

#include <sys/prctl.h>

#include <algorithm>
#include <cstring>

#include "fake/files/user_memory.h"
#include "uapi/sw_sync.h"

namespace fake {
namespace {

template <std::size_t size>
void Fill(char (&field)[size], const std::string& text) {
  std::memset(field, 0, size);
  text.copy(field, size - 1);
}

// As the kernel merges: of each context the latest that is pending, by context; or, if none is, one signaled fence.
Fences MergeFences(const Fences& one, const Fences& other) {
  Fences all = one;
  all.insert(all.end(), other.begin(), other.end());
  uint64_t latest = 0;
  for (const auto& fence : all) latest = std::max(latest, fence->timestamp());
  std::erase_if(all, [](const auto& fence) { return fence->signaled(); });
  std::ranges::sort(all, [](const auto& a, const auto& b) {
    if (a->context() != b->context()) return a->context() < b->context();
    return !b->IsLaterOrSame(*a);
  });
  const auto same = [](const auto& a, const auto& b) { return a->context() == b->context(); };
  all.erase(std::unique(all.begin(), all.end(), same), all.end());
  if (all.empty()) all.push_back(MakeStub(latest));
  return all;
}

}  // namespace

SyncFile::SyncFile(FileTable& table, Fences fences, std::string name)
    : table_(table),
      fences_(std::move(fences)),
      name_(std::move(name)),
      array_context_(fences_.size() > 1 ? table.fence_hub().NewContext() : 0) {}

SyncFile::~SyncFile() { table_.fence_hub().Remove(this); }

int SyncFile::Ioctl(uapi::request_t request, void* argument) {
  switch (request) {
    case uapi::SYNC_IOC_MERGE:
      return Merge(*static_cast<uapi::sync_merge_data*>(argument));
    case uapi::SYNC_IOC_FILE_INFO:
      return Info(*static_cast<uapi::sync_file_info*>(argument));
    case uapi::SYNC_IOC_SET_DEADLINE: {
      const auto& command = *static_cast<uapi::sync_set_deadline*>(argument);
      if (command.pad != 0) return -EINVAL;
      for (const auto& fence : fences_) fence->SetDeadline(command.deadline_ns);
      return 0;
    }
    default:
      return -ENOTTY;
  }
}

int SyncFile::Merge(uapi::sync_merge_data& command) {
  if (command.flags != 0 || command.pad != 0) return -EINVAL;
  const auto other = std::dynamic_pointer_cast<SyncFile>(table_.Find(command.fd2));
  if (!other) return -ENOENT;
  const std::string name(command.name, strnlen(command.name, sizeof(command.name) - 1));
  const int fd =
      table_.Install(std::make_shared<SyncFile>(table_, MergeFences(fences_, other->fences_), name), "sync_file");
  if (fd < 0) return fd;
  command.fence = fd;
  return 0;
}

int SyncFile::Info(uapi::sync_file_info& command) {
  if (command.flags != 0 || command.pad != 0) return -EINVAL;
  const auto count = static_cast<uint32_t>(fences_.size());
  if (command.num_fences == 0) {
    command.status = Status();
  } else {
    if (command.num_fences < count) return -EINVAL;
    uint64_t at = command.sync_fence_info;
    command.status = 1;
    for (const auto& fence : fences_) {
      uapi::sync_fence_info info = {.status = fence->status(), .timestamp_ns = fence->timestamp()};
      Fill(info.obj_name, fence->timeline());
      Fill(info.driver_name, fence->driver());
      if (command.status > 0) command.status = info.status;
      if (!CopyToUser(WritableUserPointer(at), &info, sizeof(info))) return -EFAULT;
      at += sizeof(info);
    }
  }
  Fill(command.name, Name());
  command.num_fences = count;
  return 0;
}

std::string SyncFile::Name() const {
  if (!name_.empty()) return name_;
  const auto compose = [](const std::string& driver, const std::string& timeline, uint64_t context, uint32_t seqno) {
    return driver + "-" + timeline + std::to_string(context) + "-" + std::to_string(seqno);
  };
  const Fence& first = *fences_.front();
  if (fences_.size() == 1) return compose(first.driver(), first.timeline(), first.context(), first.seqno());
  return array_status_ == 0 ? compose("dma_fence_array", "unbound", array_context_, 1)
                            : compose("detached-driver", "signaled-timeline", array_context_, 1);
}

bool SyncFile::Signaled() const {
  return std::ranges::all_of(fences_, [](const auto& fence) { return fence->signaled(); });
}

int SyncFile::Status() {
  if (fences_.size() == 1) return fences_.front()->status();
  if (array_status_ != 0 || !Signaled()) return array_status_;
  const Fence* failed = nullptr;  // first
  for (const auto& fence : fences_) {
    if (fence->status() < 0 && (!failed || fence->timestamp() < failed->timestamp())) failed = fence.get();
  }
  array_status_ = awaited_ && failed ? failed->status() : 1;
  return array_status_;
}

int SyncFile::Poll(int events) {
  awaited_ = true;
  return Status() != 0 ? events & POLLIN : 0;
}

int SyncFile::WatchFd(int* events) {
  const bool ready = Poll(*events) != 0;
  table_.fence_hub().Add(this);
  *events = POLLIN;
  return readiness_.Watch(ready);
}

void SyncFile::FencesChanged() { readiness_.Set(Status() != 0); }

SwSync::SwSync(FileTable& table) : table_(table), context_(table.fence_hub().NewContext()) {
  char name[16] = {};
  prctl(PR_GET_NAME, name);
  name_ = name;
}

SwSync::~SwSync() {
  const uint64_t now = MonotonicNanoseconds();
  for (const auto& weak : pending_) {
    if (const auto fence = weak.lock()) fence->Signal(-ENOENT, now);
  }
  table_.fence_hub().Changed();
}

int SwSync::Ioctl(uapi::request_t request, void* argument) {
  switch (request) {
    case uapi::SW_SYNC_IOC_CREATE_FENCE: {
      auto& command = *static_cast<uapi::sw_sync_create_fence_data*>(argument);
      return CreateFence(command.value, &command.fence);
    }
    case uapi::SW_SYNC_IOC_INC:
      Advance(*static_cast<uint32_t*>(argument));
      return 0;
    case uapi::SW_SYNC_GET_DEADLINE: {
      auto& command = *static_cast<uapi::sw_sync_get_deadline*>(argument);
      if (command.deadline_ns != 0 || command.pad != 0) return -EINVAL;
      const auto file = std::dynamic_pointer_cast<SyncFile>(table_.Find(command.fence_fd));
      // A fence of a timeline: not an array, and not the stub.
      if (!file || file->fences().size() != 1 || file->fences().front()->context() == 0) return -EINVAL;
      const auto deadline = file->fences().front()->deadline();
      if (!deadline) return -ENOENT;
      command.deadline_ns = *deadline;
      return 0;
    }
    default:
      return -ENOTTY;
  }
}

int SwSync::CreateFence(uint32_t value, int32_t* fd) {
  std::erase_if(pending_, [](const auto& weak) { return weak.expired(); });
  std::shared_ptr<Fence> fence;
  for (const auto& weak : pending_) {
    const auto other = weak.lock();
    if (other && other->seqno() == value) fence = other;
  }
  if (!fence) {
    fence = std::make_shared<Fence>(context_, value, name_);
    if (static_cast<int32_t>(value - value_) <= 0) {
      fence->Signal(0, MonotonicNanoseconds());
    } else {
      pending_.push_back(fence);
    }
  }
  const int result = table_.Install(std::make_shared<SyncFile>(table_, Fences{fence}), "sync_file");
  if (result < 0) return result;
  *fd = result;
  return 0;
}

void SwSync::Advance(uint32_t count) {
  const uint64_t now = MonotonicNanoseconds();
  // Fences are compared by a signed distance, so a large step is made in parts.
  while (count > 0) {
    const uint32_t step = std::min<uint32_t>(count, INT32_MAX);
    value_ += step;
    count -= step;
    for (const auto& weak : pending_) {
      const auto fence = weak.lock();
      if (fence && static_cast<int32_t>(fence->seqno() - value_) <= 0) fence->Signal(0, now);
    }
    std::erase_if(pending_, [](const auto& weak) {
      const auto fence = weak.lock();
      return !fence || fence->signaled();
    });
  }
  table_.fence_hub().Changed();
}

}  // namespace fake
