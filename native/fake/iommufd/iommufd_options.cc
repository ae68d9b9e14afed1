// Settings of an iommufd and of its IOASes: the rules are those of drivers/iommu/iommufd/ioas.c and vfio_compat.c.
#include "fake/iommufd/iommufd_commands.h"
#include "fake/iommufd/iommufd_ioas.h"

namespace fake {
namespace {

// iommufd_option_rlimit_mode()
int RlimitMode(Iommufd& iommufd, uapi::iommu_option& command) {
  if (command.object_id != 0) return -EOPNOTSUPP;
  if (command.op == uapi::IOMMU_OPTION_OP_GET) {
    command.val64 = iommufd.rlimit_mode;
    return 0;
  }
  if (command.op != uapi::IOMMU_OPTION_OP_SET) return -EOPNOTSUPP;
  if (!iommufd.objects().empty()) return -EBUSY;
  if (command.val64 > 1) return -EINVAL;
  iommufd.rlimit_mode = command.val64;
  return 0;
}

// iommufd_ioas_option_huge_pages()
int HugePages(Iommufd& iommufd, uapi::iommu_option& command) {
  const auto ioas = iommufd.Find<Ioas>(command.object_id);
  if (!ioas) return -ENOENT;
  if (command.op == uapi::IOMMU_OPTION_OP_GET) {
    command.val64 = ioas->space.huge_pages() ? 1 : 0;
    return 0;
  }
  if (command.op != uapi::IOMMU_OPTION_OP_SET) return -EOPNOTSUPP;
  return command.val64 > 1 ? -EINVAL : ioas->space.SetHugePages(command.val64 == 1);
}

}  // namespace

int Option(Iommufd& iommufd, uapi::iommu_option& command) {
  if (command.__reserved != 0) return -EOPNOTSUPP;
  if (command.option_id == uapi::IOMMU_OPTION_RLIMIT_MODE) return RlimitMode(iommufd, command);
  return command.option_id == uapi::IOMMU_OPTION_HUGE_PAGES ? HugePages(iommufd, command) : -EOPNOTSUPP;
}

int VfioIoas(Iommufd& iommufd, uapi::iommu_vfio_ioas& command) {
  if (command.__reserved != 0) return -EOPNOTSUPP;
  switch (command.op) {
    case uapi::IOMMU_VFIO_IOAS_GET:
      if (iommufd.vfio_ioas == 0) return -ENODEV;
      command.ioas_id = iommufd.vfio_ioas;
      return 0;
    case uapi::IOMMU_VFIO_IOAS_SET:
      if (!iommufd.Find<Ioas>(command.ioas_id)) return -ENOENT;
      iommufd.vfio_ioas = command.ioas_id;
      return 0;
    case uapi::IOMMU_VFIO_IOAS_CLEAR:
      iommufd.vfio_ioas = 0;
      return 0;
    default:
      return -EOPNOTSUPP;
  }
}

}  // namespace fake
