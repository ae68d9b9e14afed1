// Which file a path of the program names: one of the host, one in the folder of the fake machine, or a device node of
// the fake kernel.
#pragma once

#include <climits>
#include <string>

namespace preload {

struct Place {
  enum class Kind { kHost, kFolder, kNode };
  Kind kind = Kind::kHost;
  std::string path;  // kFolder: in the host's file system; kNode: as the fake kernel calls it, "/dev/iommu"
};

// `follow`: whether the call follows a symbolic link at the end of the path. Relative paths begin at `folder`, an fd or
// AT_FDCWD.
Place Find(int folder, const char* path, bool follow = true);
// The path in the machine's folder of a device node, where an ordinary file contains the node's number.
std::string PlaceholderOf(const std::string& node);
// Takes note that the current folder has changed.
void NoteCurrentFolder();
// Replaces a path in the machine's folder by the path that the program knows. The result is never longer.
void HideFolder(std::string* path);

// The path of a call, changed where it names a file of the fake machine: device nodes are their placeholders.
class ChangedPath {
 public:
  explicit ChangedPath(int folder, const char* path, bool follow = true);
  const char* path() const { return place_.kind == Place::Kind::kHost ? given_ : place_.path.c_str(); }
  bool IsNode() const { return is_node_; }
  bool IsHost() const { return place_.kind == Place::Kind::kHost; }

 private:
  const char* given_;
  Place place_;
  bool is_node_;
};

}  // namespace preload
