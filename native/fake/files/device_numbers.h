// The numbers of the fake's character devices. lib/fake/sysfs.ts writes the same numbers to the `dev` files of its
// sysfs.
#pragma once

#include <sys/sysmacros.h>

namespace fake {

constexpr unsigned kMiscMajor = 10;
constexpr unsigned kDmaHeapMajor = 509;
constexpr unsigned kVfioGroupMajor = 510;   // the minor: the group's number
constexpr unsigned kVfioDeviceMajor = 511;  // the minor: N of vfioN

inline dev_t IommufdNumber() { return makedev(kMiscMajor, 257); }
inline dev_t VfioContainerNumber() { return makedev(kMiscMajor, 196); }
inline dev_t UdmabufNumber() { return makedev(kMiscMajor, 258); }
inline dev_t SystemHeapNumber() { return makedev(kDmaHeapMajor, 0); }

}  // namespace fake
