// Pages mapped from an fd into this process: host memory, or a device's registers behind accessors of exact width.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "core/bus_error.h"
#include "core/fd.h"
#include "core/registers.h"

namespace core {

class Mapping {
 public:
  // `fd` stays open as long as the mapping. `enabled`, if given, tells whether the device answers at all: while it is
  // false the pages would raise SIGBUS.
  Mapping(std::shared_ptr<Fd> fd, uint64_t offset, std::size_t length, int protection,
          std::shared_ptr<const std::atomic<bool>> enabled = nullptr);
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  // Should the pages be taken away some day, as an exporter may do, whoever looks at them reads zeros from then on,
  // without a fault.
  void ZeroOnBusError();

  // Lets go of the file and puts zero pages in its place. The address range stays taken, so that views
  // which JavaScript still holds read zeros and never fault, until the last owner lets go.
  void Retire();
  // Retires it and lets go of the kernel, too. The addresses stay taken for as long as the process lives.
  void Abandon();

  void* address() const { return pages_.address; }
  std::size_t length() const { return length_; }
  bool writable() const { return writable_; }
  bool retired() const { return !fd_; }
  bool enabled() const { return !enabled_ || enabled_->load(std::memory_order_acquire); }

  // Runs loads and stores. False: the device does not decode memory after all, and not all of them were made.
  template <typename Accesses>
  bool Try(const Accesses& accesses) const {
    if (!pages_.trap) return GuardBusErrors(pages_.address, length_, accesses);
    accesses();
    return true;
  }

  // In Try(): one load or store of exactly sizeof(T), never merged, split or left out, ordered as core/registers.h
  // says. The caller has checked the offset.
  template <typename T>
  T Load(std::size_t offset) const {
    if (pages_.trap) return static_cast<T>(pages_.trap->Read(offset, sizeof(T)));
    return LoadRegister(reinterpret_cast<const volatile T*>(static_cast<char*>(pages_.address) + offset));
  }
  template <typename T>
  void Store(std::size_t offset, T value) const {
    if (pages_.trap) {
      pages_.trap->Write(offset, sizeof(T), value);
    } else {
      StoreRegister(reinterpret_cast<volatile T*>(static_cast<char*>(pages_.address) + offset), value);
    }
  }

 private:
  std::shared_ptr<kernel::Kernel> kernel_;  // none: abandoned
  std::shared_ptr<Fd> fd_;                  // none: retired
  std::shared_ptr<const std::atomic<bool>> enabled_;
  kernel::MappedPages pages_;
  std::size_t length_;
  bool writable_;
  bool zero_on_bus_error_ = false;
};

}  // namespace core
