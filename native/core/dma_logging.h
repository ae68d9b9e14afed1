// A VFIO device's own log of the pages that it wrote to.
#pragma once

#include <vector>

#include "core/vfio.h"

namespace core {

using DmaRange = uapi::vfio_device_feature_dma_logging_range;

// Returns the page size that the device tracks in.
uint64_t StartDmaLogging(const VfioDevice& device, uint64_t page_size, const std::vector<DmaRange>& ranges);
void StopDmaLogging(const VfioDevice& device);
// What was written to since the last report, in ascending order; neighbours are one range.
std::vector<DmaRange> ReportDmaLogging(const VfioDevice& device, uint64_t iova, uint64_t length, uint64_t page_size);

}  // namespace core
