// The DMA logging features of a VFIO device.
#include "core/dma_logging.h"

#include <algorithm>
#include <bit>

namespace core {
namespace {

constexpr uint64_t kPagesAtOnce = uint64_t{1} << 21;  // the kernel pins the bitmap of this many at once

void Append(std::vector<DmaRange>* ranges, uint64_t iova, uint64_t length) {
  if (!ranges->empty() && ranges->back().iova + ranges->back().length == iova) {
    ranges->back().length += length;
  } else {
    ranges->push_back({iova, length});
  }
}

void Decode(const std::vector<uint64_t>& bitmap, uint64_t iova, uint64_t page_size, std::vector<DmaRange>* ranges) {
  for (std::size_t i = 0; i < bitmap.size(); ++i) {
    for (uint64_t word = bitmap[i]; word != 0; word &= word - 1) {
      const auto page = i * 64 + static_cast<unsigned>(std::countr_zero(word));
      Append(ranges, iova + page * page_size, page_size);
    }
  }
}

}  // namespace

uint64_t StartDmaLogging(const VfioDevice& device, uint64_t page_size, const std::vector<DmaRange>& ranges) {
  return device
      .Feature(VFIO_DMABUF_FEATURE(SET, DMA_LOGGING_START),
               uapi::vfio_device_feature_dma_logging_control{.page_size = page_size,
                                                             .num_ranges = static_cast<uint32_t>(ranges.size()),
                                                             .ranges = reinterpret_cast<uint64_t>(ranges.data())})
      .page_size;
}

void StopDmaLogging(const VfioDevice& device) { device.Feature(VFIO_DMABUF_FEATURE(SET, DMA_LOGGING_STOP)); }

std::vector<DmaRange> ReportDmaLogging(const VfioDevice& device, uint64_t iova, uint64_t length, uint64_t page_size) {
  std::vector<DmaRange> ranges;
  // A range that overflows 64 bits goes to the kernel unsplit: it must be refused before a part is cleared.
  const bool overflows = iova + length < iova;
  const uint64_t unit = std::max<uint64_t>(page_size, 1);
  const uint64_t most = overflows || unit > ~uint64_t{0} / kPagesAtOnce ? ~uint64_t{0} : unit * kPagesAtOnce;
  do {
    const uint64_t part = std::min(length, most);
    std::vector<uint64_t> bitmap(part / unit / 64 + 1);
    device.Feature(
        VFIO_DMABUF_FEATURE(GET, DMA_LOGGING_REPORT),
        uapi::vfio_device_feature_dma_logging_report{
            .iova = iova, .length = part, .page_size = page_size, .bitmap = reinterpret_cast<uint64_t>(bitmap.data())});
    Decode(bitmap, iova, page_size, &ranges);
    iova += part;
    length -= part;
  } while (length > 0);
  return ranges;
}

}  // namespace core
