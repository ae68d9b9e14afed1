// Fences, of which sync files consist, and which mark a dma-buf as in use. The caller holds the fake kernel's lock,
// except in FenceHub::WaitForChange().
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace fake {

// The result of an ioctl or write that must wait for a fence: the call is made again when a fence changes.
constexpr int kSleeps = -512;  // the kernel's own ERESTARTSYS, which never leaves it

// One point on a timeline. Signaled once, for good.
class Fence {
 public:
  Fence(uint64_t context, uint32_t seqno, std::string timeline)
      : context_(context), seqno_(seqno), timeline_(std::move(timeline)) {}

  // `error`: 0, or a negated errno
  void Signal(int error, uint64_t timestamp);
  // The earliest of those that are set counts.
  void SetDeadline(uint64_t deadline);

  bool signaled() const { return signaled_; }
  int status() const { return !signaled_ ? 0 : error_ != 0 ? error_ : 1; }
  uint64_t timestamp() const { return timestamp_; }
  std::optional<uint64_t> deadline() const { return deadline_; }
  uint64_t context() const { return context_; }
  uint32_t seqno() const { return seqno_; }
  // A signaled fence no longer has a driver: it may have been removed.
  std::string driver() const { return signaled_ ? "detached-driver" : "sw_sync"; }
  std::string timeline() const { return signaled_ ? "signaled-timeline" : timeline_; }
  // Whether it comes after the other one of the same context, or is the same point.
  bool IsLaterOrSame(const Fence& other) const { return static_cast<int32_t>(seqno_ - other.seqno_) >= 0; }

 private:
  uint64_t context_;
  uint32_t seqno_;
  std::string timeline_;
  bool signaled_ = false;
  int error_ = 0;
  uint64_t timestamp_ = 0;
  std::optional<uint64_t> deadline_;
};

using Fences = std::vector<std::shared_ptr<Fence>>;

// The time that fences are stamped with.
uint64_t MonotonicNanoseconds();
// A signaled fence without a driver.
std::shared_ptr<Fence> MakeStub(uint64_t timestamp);

// A watched file whose readiness depends on fences.
class FenceWatcher {
 public:
  virtual ~FenceWatcher() = default;
  virtual void FencesChanged() = 0;
};

// The state that all fences of a kernel share.
class FenceHub {
 public:
  uint64_t NewContext() { return next_context_++; }
  // The timestamp of the kernel's stub fence, which means "nothing to wait for".
  uint64_t born() const { return born_; }

  void Add(FenceWatcher* watcher) { watchers_.insert(watcher); }
  void Remove(FenceWatcher* watcher) { watchers_.erase(watcher); }
  // Notifies all watchers and wakes all sleepers.
  void Changed();

  // To sleep without the lock: note the count while it is held, and wait for another one.
  uint32_t changes() const { return changes_; }
  void WaitForChange(uint32_t seen) const { changes_.wait(seen); }

 private:
  uint64_t next_context_ = 1;
  uint64_t born_ = MonotonicNanoseconds();
  std::set<FenceWatcher*> watchers_;
  std::atomic<uint32_t> changes_ = 0;
};

// The fences of a dma-buf: who is using it, and how.
class Reservation {
 public:
  enum class Usage { kWrite, kRead };
  void Add(const std::shared_ptr<Fence>& fence, Usage usage);
  // The fences that a reader waits for (those of writers), or, with `all`, a writer.
  Fences Pending(bool all) const;

 private:
  struct Use {
    std::shared_ptr<Fence> fence;
    Usage usage;
  };
  std::vector<Use> uses_;
};

}  // namespace fake
