// The paths of the fake machine, by every call that takes a path. The rest of the host stays as it is.
#include <dirent.h>
#include <glob.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include <climits>
#include <set>
#include <string>

#include "vfio.h"

static std::set<std::string> List(const char* path) {
  std::set<std::string> names;
  DIR* folder = opendir(path);
  CHECK(folder);
  while (const dirent* entry = readdir(folder)) names.insert(entry->d_name);
  closedir(folder);
  return names;
}

static bool Opens(int fd) { return fd >= 0 && close(fd) == 0; }

static std::string Read(const char* path) {
  char text[256] = {};
  FILE* file = fopen(path, "r");
  CHECK(file);
  CHECK(fgets(text, sizeof(text), file));
  fclose(file);
  return text;
}

static void Nodes() {
  struct stat info = {};
  CHECK(stat("/dev/iommu", &info) == 0 && S_ISCHR(info.st_mode) && major(info.st_rdev) == 10);
  CHECK(lstat("/dev/vfio/devices/vfio2", &info) == 0 && S_ISCHR(info.st_mode) && minor(info.st_rdev) == 2);
  CHECK(stat("/dev/vfio", &info) == 0 && S_ISDIR(info.st_mode));
  struct statx wide = {};
  CHECK(statx(AT_FDCWD, "/dev/vfio/vfio", 0, STATX_ALL, &wide) == 0);
  CHECK(S_ISCHR(wide.stx_mode) && wide.stx_rdev_major == 10 && wide.stx_rdev_minor == 196);
  CHECK(syscall(SYS_statx, AT_FDCWD, "/dev/udmabuf", 0, STATX_ALL, &wide) == 0 && S_ISCHR(wide.stx_mode));
  const int iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
  CHECK(iommufd >= 3 && iommufd < 10);  // the lowest number that is free, as ever
  struct stat opened = {};
  CHECK(fstat(iommufd, &opened) == 0 && S_ISCHR(opened.st_mode) && minor(opened.st_rdev) == 257);
  CHECK(fcntl(iommufd, F_GETFD) == FD_CLOEXEC);
  CHECK(fstatat(iommufd, "", &opened, AT_EMPTY_PATH) == 0 && S_ISCHR(opened.st_mode));
  close(iommufd);
  const int kept = open("/dev/iommu", O_RDWR);
  CHECK(fcntl(kept, F_GETFD) == 0);
  char link[PATH_MAX] = {};
  CHECK(readlink(("/proc/self/fd/" + std::to_string(kept)).c_str(), link, sizeof(link)) > 0);
  CHECK(std::string(link).find("memfd") == std::string::npos);
  close(kept);

  // Other spellings, and other calls.
  CHECK(Opens(open("//dev//iommu", O_RDWR)) && Opens(open("/dev/./iommu", O_RDWR)));
  CHECK(Opens(open("/tmp/../dev/iommu", O_RDWR)) && Opens(open64("/dev/vfio/../iommu", O_RDWR)));
  CHECK(Opens(openat(AT_FDCWD, "/dev/dma_heap/system", O_RDWR)) && Opens(openat(-1, "/dev/udmabuf", O_RDWR)));
  CHECK(Opens(static_cast<int>(syscall(SYS_openat, AT_FDCWD, "/dev/iommu", O_RDWR))));
  const int dev = open("/dev", O_RDONLY | O_DIRECTORY);
  CHECK(Opens(openat(dev, "iommu", O_RDWR)) && Opens(openat(dev, "vfio/vfio", O_RDWR)) &&
        Opens(openat(dev, "null", O_RDWR)));
  CHECK(fstatat(dev, "iommu", &info, 0) == 0 && S_ISCHR(info.st_mode));
  close(dev);
  CHECK(chdir("/dev/vfio") == 0 && Opens(open("vfio", O_RDWR)) && Opens(open("../iommu", O_RDWR)));
  char here[PATH_MAX];
  CHECK(getcwd(here, sizeof(here)) && std::string(here) == "/dev/vfio");
  CHECK(chdir("/") == 0 && Opens(open("dev/iommu", O_RDWR)));
  CHECK(access("/dev/iommu", R_OK | W_OK) == 0 && faccessat(AT_FDCWD, "/dev/vfio/5", R_OK, 0) == 0);
  CHECK(open("/dev/vfio/99", O_RDWR) < 0 && errno == ENOENT && access("/dev/vfio/99", F_OK) < 0);
  CHECK(open("/dev/iommu", O_RDWR | O_DIRECTORY) < 0 && errno == ENOTDIR);
  const auto names = List("/dev");
  CHECK(names.contains("iommu") && names.contains("vfio") && names.contains("null") && names.contains("shm"));
  CHECK(List("/dev/vfio").contains("devices") && List("/dev/vfio/devices").contains("vfio0"));
}

static void Sysfs() {
  CHECK(List("/sys/bus/pci/devices").contains("0000:03:00.0"));
  CHECK(Read("/sys/bus/pci/devices/0000:03:00.0/vendor") == "0x1234\n");
  char path[PATH_MAX];
  CHECK(realpath("/sys/bus/pci/devices/0000:03:00.0", path));
  CHECK(std::string(path) == "/sys/devices/pci0000:00/0000:00:03.0/0000:03:00.0");
  char* found = realpath("/sys/class/vfio-dev/vfio2", nullptr);
  CHECK(found && std::string(found) == std::string(path) + "/vfio-dev/vfio2");
  char link[PATH_MAX] = {};
  CHECK(readlink("/sys/bus/pci/devices/0000:03:00.0/driver", link, sizeof(link)) > 0);
  CHECK(std::string(link).ends_with("bus/pci/drivers/vfio-pci"));
  // The parent of a link's target, as in the kernel.
  CHECK(Read("/sys/bus/pci/devices/0000:03:00.0/../vendor") == "0x1b36\n");
  dirent** list = nullptr;
  CHECK(scandir("/sys/bus/pci/drivers/vfio-pci", &list, nullptr, alphasort) > 8);
  glob_t matches = {};
  CHECK(glob("/sys/bus/pci/devices/*/vfio-dev/vfio2", 0, nullptr, &matches) == 0 && matches.gl_pathc == 1);
  CHECK(std::string(matches.gl_pathv[0]) == "/sys/bus/pci/devices/0000:03:00.0/vfio-dev/vfio2");
  globfree(&matches);
  struct statfs filesystem = {};
  CHECK(statfs("/sys/bus/pci", &filesystem) == 0 && filesystem.f_type == 0x62656572);
  struct stat info = {};
  CHECK(stat("/sys/module/vfio_pci", &info) == 0 && stat("/sys/module/vfio", &info) == 0);
  for (const char* name : {"subsystem_vendor", "subsystem_device", "irq", "modalias", "enable"}) {
    for (const auto& device : List("/sys/bus/pci/devices")) {
      if (device[0] == '.') continue;
      CHECK(!Read(("/sys/bus/pci/devices/" + device + "/" + name).c_str()).empty());
    }
  }
  CHECK(Read("/sys/bus/pci/devices/0000:03:00.0/iommu/intel-iommu/cap") == "d2008c22260286\n");
  // The host's part.
  CHECK(stat("/sys/kernel", &info) == 0 && stat("/sys/devices/system/cpu", &info) == 0);
  CHECK(lstat("/sys/devices/system", &info) == 0 && S_ISDIR(info.st_mode));
  CHECK(List("/sys/class").contains("net") && stat("/sys/class/net/lo", &info) == 0);
  CHECK(realpath("/sys/devices/system/cpu", path) && std::string(path) == "/sys/devices/system/cpu");
}

int main() {
  Nodes();
  Sysfs();
  CHECK(List("/").contains("proc") && Opens(open("/dev/null", O_RDWR)) && Opens(open("/etc/passwd", O_RDONLY)));
  std::puts("done");
}
