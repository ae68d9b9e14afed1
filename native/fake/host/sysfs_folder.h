// The root folder of a fake machine: its /sys and its part of /proc. It is removed with its object, or when the process
// exits; after the process was killed, when the next folder is made. A folder in use is locked with flock, which ends
// with the process, so that reused pids and containers do not matter.
#pragma once

#include <string>

namespace fake {

class SysfsFolder {
 public:
  // A new, empty folder in `parent`; throws std::system_error.
  explicit SysfsFolder(const std::string& parent);
  SysfsFolder(const SysfsFolder&) = delete;
  SysfsFolder& operator=(const SysfsFolder&) = delete;
  ~SysfsFolder();

  // Removing twice is no error.
  void Remove();

  // The path of its /sys.
  const std::string& path() const { return sysfs_; }
  const std::string& root() const { return root_; }
  // The fd whose flock keeps the folder; a duplicate of it keeps the folder, too.
  int lock() const { return lock_; }

 private:
  std::string root_;
  std::string sysfs_;
  int lock_ = -1;  // the root, locked; -1: removed
};

}  // namespace fake
