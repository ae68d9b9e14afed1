// Sync files, and the timelines of sw_sync in debugfs, whose fences a program signals itself.
#pragma once

#include <memory>
#include <string>

#include "fake/dma_buf/fence.h"
#include "fake/files/file.h"
#include "fake/files/readiness.h"
#include "uapi/sync_file.h"

namespace fake {

class SyncFile : public File, private FenceWatcher {
 public:
  // Several fences form an array, which is itself a fence.
  SyncFile(FileTable& table, Fences fences, std::string name = "");
  ~SyncFile() override;

  int Ioctl(uapi::request_t request, void* argument) override;
  int Poll(int events) override;
  int WatchFd(int* events) override;
  std::string Path() override { return "anon_inode:sync_file"; }

  const Fences& fences() const { return fences_; }

 private:
  int Merge(uapi::sync_merge_data& command);
  int Info(uapi::sync_file_info& command);
  std::string Name() const;
  // The status of the array, if there is one: it learns of its fences' errors only after the first wait for it.
  int Status();
  bool Signaled() const;
  void FencesChanged() override;

  FileTable& table_;
  const Fences fences_;
  const std::string name_;
  const uint64_t array_context_;
  int array_status_ = 0;
  bool awaited_ = false;
  Readiness readiness_;
};

// /sys/kernel/debug/sync/sw_sync: each open file is a timeline.
class SwSync : public File {
 public:
  explicit SwSync(FileTable& table);
  ~SwSync() override;

  int Ioctl(uapi::request_t request, void* argument) override;

 private:
  int CreateFence(uint32_t value, int32_t* fd);
  void Advance(uint32_t count);

  FileTable& table_;
  const uint64_t context_;
  std::string name_;
  uint32_t value_ = 0;
  std::vector<std::weak_ptr<Fence>> pending_;
};

}  // namespace fake
