// Migration of a VFIO device: its states, and the data that leaves or enters it in some of them.
#pragma once

#include <memory>

#include "core/vfio.h"

namespace core {

uint64_t GetMigrationFlags(const VfioDevice& device);
uint32_t GetMigrationState(const VfioDevice& device);
// Returns the data file that the new state opens; nullptr when it opens none. After a failure the device may be in an
// intermediate state.
std::shared_ptr<Fd> SetMigrationState(const VfioDevice& device, uint32_t state);
// The estimated number of bytes of a save.
uint64_t GetMigrationDataSize(const VfioDevice& device);
void EnablePrecopyInfoV2(const VfioDevice& device);

// Of the data file of a device that is in pre-copy.
uapi::vfio_precopy_info GetPrecopyInfo(const Fd& data);

}  // namespace core
