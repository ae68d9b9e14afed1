// The folder that plays a fake machine's root: /sys, and what of /proc belongs to it. It is removed with its object, or
// when the process exits; if the process is killed, by whoever makes the next one. A folder that is in use is locked
// (flock): the kernel lets go of the lock when the process is gone, however it went, so that neither a pid that is used
// again nor a container misleads.
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

  // Again is no error.
  void Remove();

  // Of /sys.
  const std::string& path() const { return sysfs_; }
  const std::string& root() const { return root_; }

 private:
  std::string root_;
  std::string sysfs_;
  int lock_ = -1;  // the root, locked; -1: removed
};

}  // namespace fake
