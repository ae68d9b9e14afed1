// The folder that plays a fake machine's /sys. It is removed with its object, or when the process exits; if the process
// is killed, by whoever makes the next one. A folder that is in use is locked (flock): the kernel lets go of the lock
// when the process is gone, however it went, so that neither a pid that is used again nor a container misleads.
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

  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int lock_ = -1;  // the folder itself, locked; -1: removed
};

}  // namespace fake
