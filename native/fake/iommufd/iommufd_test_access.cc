// Mock drivers that access an IOAS's memory with the CPU.
#include "fake/iommufd/iommufd_test_access.h"

#include <sys/sysmacros.h>

#include <cinttypes>
#include <cstdio>

#include "fake/files/user_memory.h"

namespace fake {
namespace {

using Command = uapi::iommu_test_cmd;

constexpr uint64_t kMost = uint64_t{16} << 20;

class TestAccess : public File {
 public:
  // `pins`: whether the driver pins pages.
  TestAccess(std::shared_ptr<Iommufd> iommufd, bool pins)
      : iommufd_(std::move(iommufd)), access_(std::make_shared<Object>(pins)), pins_(pins) {
    iommufd_->Add(access_);
  }
  ~TestAccess() override {
    access_->UnpinAll();
    iommufd_->Remove(access_->id);
  }

  int Attach(uint32_t ioas) { return access_->Attach(*iommufd_, ioas); }
  int Pin(Command& command) {
    auto& [flags, id, iova, length, address] = command.access_pages;
    return pins_ ? access_->Pin(flags, iova, length, address, &id) : -EOPNOTSUPP;
  }
  int Unpin(uint32_t item) { return access_->Unpin(item); }
  IoAddressSpace* space() const { return access_->space(); }

 private:
  class Object : public IommufdAccess {
   public:
    explicit Object(bool pins) : alignment_(pins ? kernel::PageSize() : 1) {}

    uint64_t alignment() const override { return alignment_; }
    // iommufd_test_access_unmap()
    void Forget(uint64_t first, uint64_t last) override {
      std::erase_if(items_, [&](const auto& entry) {
        const auto& [from, to] = entry.second;
        if (first > to || last < from) return false;
        space()->Unpin(from, to);
        return true;
      });
    }
    int Pin(uint32_t flags, uint64_t iova, uint64_t length, uint64_t address, uint32_t* id) {
      if (length == 0) return -EINVAL;
      const uint64_t last = iova + (length - 1);
      if (last < iova) return -EOVERFLOW;
      if (!space()) return -ENOENT;
      const auto access = (flags & uapi::MOCK_FLAGS_ACCESS_WRITE) != 0 ? Access::kWrite : Access::kRead;
      if (const int failed = space()->Pin(access, iova, last); failed != 0) return failed;
      const int wrong = address == 0 ? 0 : Compare(iova, last, address);
      if (wrong != 0) {
        space()->Unpin(iova, last);
        return wrong;
      }
      items_[next_] = {iova, last};
      *id = next_++;
      return 0;
    }
    int Unpin(uint32_t item) {
      const auto found = items_.find(item);
      if (found == items_.end()) return -ENOENT;
      space()->Unpin(found->second.first, found->second.second);
      items_.erase(found);
      return 0;
    }
    void UnpinAll() { Forget(0, ~uint64_t{0}); }

   private:
    // iommufd_test_check_pages(): whether the caller's pages from `address` on are those that are mapped.
    int Compare(uint64_t iova, uint64_t last, uint64_t address) const {
      const uint64_t page = kernel::PageSize();
      for (uint64_t at = iova & ~(page - 1), to = address - (iova - at); at <= last; at += page, to += page) {
        if (!IsThere<uint8_t>(UserPointer(to))) return -EFAULT;
        std::vector<IoAddressSpace::Piece> pieces;
        space()->Find(std::max(at, iova), 1, &pieces);
        const auto offset = pieces.empty() ? std::nullopt : pieces[0].pages->OffsetOf(PlaceOf(to));
        const auto wanted = pieces.empty() ? 0 : static_cast<int64_t>(pieces[0].offset - (std::max(at, iova) - at));
        if (offset != wanted) return -EBADE;
      }
      return 0;
    }

    uint64_t alignment_;
    std::map<uint32_t, std::pair<uint64_t, uint64_t>> items_;  // the pinned ranges: first and last IOVA
    uint32_t next_ = 0;
  };

  std::shared_ptr<Iommufd> iommufd_;
  std::shared_ptr<Object> access_;
  bool pins_;
};

std::shared_ptr<TestAccess> FindAccess(Iommufd& iommufd, uint32_t fd) {
  return std::dynamic_pointer_cast<TestAccess>(iommufd.table().Find(static_cast<int>(fd)));
}

}  // namespace

Place PlaceOf(uint64_t address) {
  Place place = {.address = address, .device = 0, .inode = 0, .offset = 0};
  std::FILE* maps = std::fopen("/proc/self/maps", "re");
  if (!maps) return place;
  uint64_t start = 0;
  uint64_t end = 0;
  uint64_t offset = 0;
  uint64_t inode = 0;
  unsigned major = 0;
  unsigned minor = 0;
  char line[512];
  while (std::fgets(line, sizeof(line), maps)) {
    // NOLINTNEXTLINE(cert-err34-c): the kernel writes this format
    const int fields = std::sscanf(line, "%" SCNx64 "-%" SCNx64 " %*4s %" SCNx64 " %x:%x %" SCNu64, &start, &end,
                                   &offset, &major, &minor, &inode);
    if (fields != 6 || address < start || address >= end) continue;
    if (inode != 0) {
      place.device = makedev(major, minor);
      place.inode = inode;
      place.offset = offset + (address - start);
    }
    break;
  }
  std::fclose(maps);
  return place;
}

int CreateAccess(Iommufd& iommufd, Command& command) {
  auto& [fd, flags] = command.create_access;
  if ((flags & ~uapi::MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES) != 0) return -EOPNOTSUPP;
  const auto access = std::make_shared<TestAccess>(iommufd.shared_from_this(), flags != 0);
  if (const int failed = access->Attach(command.id); failed != 0) return failed;
  const int installed = iommufd.table().Install(access, "iommufd_test_staccess");
  if (installed < 0) return installed;
  fd = static_cast<uint32_t>(installed);
  return 0;
}

int ReplaceIoas(Iommufd& iommufd, const Command& command) {
  const auto access = FindAccess(iommufd, command.id);
  return access ? access->Attach(command.access_replace_ioas.ioas_id) : -EBADFD;
}

int PinPages(Iommufd& iommufd, Command& command) {
  if (command.access_pages.length > kMost) return -ENOMEM;
  if ((command.access_pages.flags & ~uapi::MOCK_FLAGS_ACCESS_WRITE) != 0) return -EOPNOTSUPP;
  const auto access = FindAccess(iommufd, command.id);
  return access ? access->Pin(command) : -EBADFD;
}

int UnpinPages(Iommufd& iommufd, const Command& command) {
  const auto access = FindAccess(iommufd, command.id);
  return access ? access->Unpin(command.destroy_access_pages.access_pages_id) : -EBADFD;
}

int ReadWrite(Iommufd& iommufd, const Command& command) {
  const auto& [iova, length, address, flags] = command.access_rw;
  if (length > kMost) return -ENOMEM;
  if ((flags & ~(uapi::MOCK_ACCESS_RW_WRITE | uapi::MOCK_ACCESS_RW_SLOW_PATH)) != 0) return -EOPNOTSUPP;
  const auto access = FindAccess(iommufd, command.id);
  if (!access) return -EBADFD;
  std::vector<uint8_t> bytes(length);
  const bool writes = (flags & uapi::MOCK_ACCESS_RW_WRITE) != 0;
  if (writes && !CopyFromUser(bytes.data(), UserPointer(address), length)) return -EFAULT;
  if (length == 0) return -EINVAL;
  if (iova + (length - 1) < iova) return -EOVERFLOW;
  if (!access->space()) return -ENOENT;
  const int moved = access->space()->ReadWrite(writes ? Access::kWrite : Access::kRead, iova, bytes.data(), length);
  if (moved != 0 || writes) return moved;
  return CopyToUser(WritableUserPointer(address), bytes.data(), length) ? 0 : -EFAULT;
}

}  // namespace fake
