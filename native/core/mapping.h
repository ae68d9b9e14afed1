// Pages of an fd that are mapped into this process: host memory, or a device's registers with accessors of exact width.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "core/bus_error.h"
#include "core/fd.h"
#include "core/registers.h"
#include "kernel/non_copyable.h"

namespace core {

class Mapping : private kernel::NonCopyable {
 public:
  // `fd` stays open as long as the mapping. `enabled`, if given, is false while the device does not decode memory: an
  // access would then raise SIGBUS.
  Mapping(std::shared_ptr<Fd> fd, uint64_t offset, std::size_t length, int protection,
          std::shared_ptr<const std::atomic<bool>> enabled = nullptr);
  ~Mapping();

  // If the exporter revokes the pages later, reads return zeros from then on and do not fault.
  void ZeroOnBusError();

  // Releases the file and replaces the pages by zero pages. The address range stays mapped until the last owner
  // releases the Mapping, so that JavaScript's views of it read zeros and never fault.
  void Retire();
  // Retires the mapping and never unmaps it: its addresses are not used again in this process.
  void Abandon();

  void* address() const { return pages_.address; }
  std::size_t length() const { return length_; }
  bool writable() const { return writable_; }
  bool retired() const { return !fd_; }
  bool enabled() const { return !enabled_ || enabled_->load(std::memory_order_acquire); }

  // To be called before loads and stores that follow each other.
  void BeforeAccess() const {
    if (!pages_.trap) KeepCatchingBusErrors();
  }

  // One load or store of exactly sizeof(T), never merged, split or left out, in the order that core/registers.h
  // describes. Returns false if it raised a bus error: the device does not decode memory. The caller must check the
  // offset.
  template <typename T>
  [[nodiscard]] bool Load(std::size_t offset, T* value) const {
    if (pages_.trap) [[unlikely]] {
      *value = static_cast<T>(pages_.trap->Read(offset, sizeof(T)));
      return true;
    }
    return LoadRegister(reinterpret_cast<const volatile T*>(static_cast<char*>(pages_.address) + offset), value);
  }
  template <typename T>
  [[nodiscard]] bool Store(std::size_t offset, T value) const {
    if (pages_.trap) [[unlikely]] {
      pages_.trap->Write(offset, sizeof(T), value);
      return true;
    }
    return StoreRegister(reinterpret_cast<volatile T*>(static_cast<char*>(pages_.address) + offset), value);
  }

 private:
  std::shared_ptr<kernel::Kernel> kernel_;  // nullptr: abandoned
  std::shared_ptr<Fd> fd_;                  // nullptr: retired
  std::shared_ptr<const std::atomic<bool>> enabled_;
  kernel::MappedPages pages_;
  std::size_t length_;
  bool writable_;
  ZeroRange* zero_range_ = nullptr;  // of ZeroOnBusError()
};

}  // namespace core
