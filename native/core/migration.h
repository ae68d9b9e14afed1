// Migration of a VFIO device: its states, and the data that leaves or enters it in some of them.
#pragma once

#include <memory>

#include "core/vfio.h"

namespace core {

uint64_t GetMigrationFlags(const VfioDevice& device);
uint32_t GetMigrationState(const VfioDevice& device);
// Returns the file of the data that the new state moves, if it begins to: nullptr, there is none, or the one of before
// goes on. After a failure the device may be in a state on the way.
std::shared_ptr<Fd> SetMigrationState(const VfioDevice& device, uint32_t state);
// How many bytes a save will take, by estimation.
uint64_t GetMigrationDataSize(const VfioDevice& device);
void EnablePrecopyInfoV2(const VfioDevice& device);

// Of the data file of a device that is in pre-copy.
uapi::vfio_precopy_info GetPrecopyInfo(const Fd& data);

}  // namespace core
