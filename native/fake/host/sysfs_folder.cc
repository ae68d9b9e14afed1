// How the folder is made, and removed when its object, the process, or a killed process ended.
#include "fake/host/sysfs_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <mutex>
#include <set>
#include <system_error>

namespace fake {
namespace {

constexpr std::string_view kPrefix = "vfio-dmabuf-fake-";
constexpr std::string_view kPattern = "XXXXXX";  // mkdtemp's

int OpenFolder(const std::string& path) { return open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC); }

// Removes the folder and its content; does not follow symbolic links. Skips what cannot be removed.
void RemoveTree(const std::string& path) {
  std::error_code ignored;
  std::filesystem::remove_all(path, ignored);
}

// Removes what killed processes of this user left behind.
void Sweep(const std::string& parent) {
  std::error_code error;
  for (std::filesystem::directory_iterator entry(parent, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename();
    if (!name.starts_with(kPrefix) || name.size() != kPrefix.size() + kPattern.size()) continue;
    const int folder = OpenFolder(entry->path());
    if (folder < 0) continue;
    struct stat info = {};
    const bool ours = fstat(folder, &info) == 0 && info.st_uid == geteuid();
    if (ours && flock(folder, LOCK_EX | LOCK_NB) == 0) RemoveTree(entry->path());
    close(folder);
  }
}

// The folders in use, for the end of the process, when objects are not destroyed. Never freed: other threads may still
// run then.
struct InUse {
  std::mutex mutex;
  std::set<SysfsFolder*> folders;
};

InUse& TheInUse() {
  static auto* in_use = [] {
    std::atexit([] {
      const std::lock_guard guard(TheInUse().mutex);
      for (const auto* folder : TheInUse().folders) RemoveTree(folder->root());
    });
    return new InUse;
  }();
  return *in_use;
}

}  // namespace

SysfsFolder::SysfsFolder(const std::string& parent) {
  Sweep(parent);
  // Before it is locked, another process may remove it as a leftover: then its link count is 0.
  for (struct stat info = {}; info.st_nlink == 0;) {
    if (lock_ >= 0) close(lock_);
    root_ = parent + "/" + std::string(kPrefix) + std::string(kPattern);
    if (!mkdtemp(root_.data())) throw std::system_error(errno, std::generic_category(), "mkdtemp");
    lock_ = OpenFolder(root_);
    if (lock_ < 0 && errno == ENOENT) continue;
    if (lock_ < 0) throw std::system_error(errno, std::generic_category(), "open");
    flock(lock_, LOCK_EX);
    fstat(lock_, &info);
  }
  sysfs_ = root_ + "/sys";  // made with what is in it
  const std::lock_guard guard(TheInUse().mutex);
  TheInUse().folders.insert(this);
}

SysfsFolder::~SysfsFolder() { Remove(); }

void SysfsFolder::Remove() {
  const std::lock_guard guard(TheInUse().mutex);
  if (TheInUse().folders.erase(this) == 0) return;
  RemoveTree(root_);
  close(lock_);
  lock_ = -1;
}

}  // namespace fake
