// Resolves the paths below /dev and /sys.
#include "preload/paths.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <optional>
#include <string_view>

#include "preload/names.h"
#include "preload/world.h"

namespace preload {
namespace {

constexpr std::string_view kSysfs = "/sys";
constexpr std::array<std::string_view, 4> kNodes = {"/dev/iommu", "/dev/udmabuf", "/dev/vfio", "/dev/dma_heap"};
constexpr std::string_view kFences = "/sys/kernel/debug/sync/sw_sync";

// Whether `path` is `folder` or below it.
bool IsBelow(std::string_view path, std::string_view folder) {
  return path.starts_with(folder) && (path.size() == folder.size() || path[folder.size()] == '/');
}

// Removes "//", "/./" and "/../" of an absolute path, up to /sys, where links make ".." another folder.
std::string Normal(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const std::size_t start = path.find_first_not_of('/');
    if (start == std::string_view::npos) break;
    path.remove_prefix(start);
    const std::string_view part = path.substr(0, path.find('/'));
    path.remove_prefix(part.size());
    if (part == "..") {
      out.resize(out.empty() ? 0 : out.rfind('/'));
    } else if (part != ".") {
      out.append("/").append(part);
    }
    if (out == kSysfs || out == Folder() + "/sys") return out.append(path);
  }
  return out.empty() ? "/" : out;
}

// The folder from which a relative path starts; "": unknown.
std::string StartOf(int folder) {
  std::array<char, PATH_MAX> path = {};
  if (folder == AT_FDCWD) return syscall(SYS_getcwd, path.data(), path.size()) > 0 ? path.data() : "";
  const std::string link = "/proc/self/fd/" + std::to_string(folder);
  return syscall(SYS_readlink, link.c_str(), path.data(), path.size() - 1) > 0 ? path.data() : "";
}

// Whether relative paths can lead to the fake machine from this folder.
bool Matters(const std::string& folder) {
  return folder == "/" || IsBelow(folder, "/dev") || IsBelow(folder, kSysfs) || IsBelow(folder, Folder());
}

std::atomic<bool> current_folder_matters = true;

// The absolute path; nullopt: not one of the fake machine.
std::optional<std::string> Absolute(int folder, const char* path) {
  if (path[0] == '/') {
    const bool plain = strncmp(path, "/dev", 4) == 0 || strncmp(path, "/sys", 4) == 0 || path[1] == '/' ||
                       path[1] == '.' || strstr(path, "..") || strncmp(path, Folder().c_str(), Folder().size()) == 0;
    return plain ? std::optional(Normal(path)) : std::nullopt;
  }
  if (folder == AT_FDCWD && !current_folder_matters) return std::nullopt;
  const std::string start = StartOf(folder);
  return Matters(start) ? std::optional(Normal(start + "/" + path)) : std::nullopt;
}

bool IsNode(const std::string& path) {
  struct stat info = {};
  return syscall(SYS_newfstatat, AT_FDCWD, path.c_str(), &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info.st_mode);
}

// The target of a link to the host's /sys or /dev, which stands for the host's own file; "": not such a link.
std::string HostFileOf(const std::string& path) {
  std::array<char, PATH_MAX> target = {};
  if (syscall(SYS_readlink, path.c_str(), target.data(), target.size() - 1) <= 0) return "";
  return target[0] == '/' ? target.data() : "";
}

}  // namespace

std::string PlaceholderOf(const std::string& node) { return Folder() + node; }

void NoteCurrentFolder() { current_folder_matters = Matters(StartOf(AT_FDCWD)); }

void HideFolder(std::string* path) {
  const std::string& folder = Folder();
  if (!folder.empty() && IsBelow(*path, folder) && path->size() > folder.size()) path->erase(0, folder.size());
}

Place Find(int folder, const char* path, bool follow) {
  if (IsOwnCall() || Folder().empty() || !path || path[0] == '\0') return {};
  const kernel::OwnCalls own;
  const int saved = errno;
  auto found = Absolute(folder, path);
  errno = saved;
  if (!found) return {};
  HideFolder(&*found);
  const bool in_sysfs = IsBelow(*found, kSysfs);
  bool is_ours = in_sysfs || *found == "/dev";
  for (const auto node : kNodes) is_ours = is_ours || IsBelow(*found, node);
  if (!is_ours) return {};
  std::string real = Folder() + *found;
  const bool may_be_node = !in_sysfs || *found == kFences;
  if (may_be_node && IsNode(real)) return {Place::Kind::kNode, std::move(*found)};
  if (!follow && in_sysfs) {
    if (auto target = HostFileOf(real); !target.empty()) real = std::move(target);
  }
  errno = saved;
  return {Place::Kind::kFolder, std::move(real)};
}

ChangedPath::ChangedPath(int folder, const char* path, bool follow)
    : given_(path), place_(Find(folder, path, follow)), is_node_(place_.kind == Place::Kind::kNode) {
  if (is_node_) place_.path = PlaceholderOf(place_.path);
}

}  // namespace preload
