// The states of a migration, its data, and DMA logging.
#include "fake/vfio/vfio_features.h"

#include <algorithm>
#include <array>
#include <bit>

#include "fake/files/user_memory.h"
#include "kernel/page_size.h"

namespace fake {
namespace {

constexpr uint64_t kLeastPageSize = 4096;  // the interface's own, whatever the system's is
const uint64_t kMostRanges = kernel::PageSize() / sizeof(uapi::vfio_device_feature_dma_logging_range);
constexpr std::size_t kStates = uapi::VFIO_DEVICE_STATE_PRE_COPY_P2P + 1;

// vfio_mig_get_next_state(): the next state, by current and target state; 0: there is no path.
constexpr std::array<std::array<uint8_t, kStates>, kStates> kNext = {{
    {0, 0, 0, 0, 0, 0, 0, 0},  // ERROR
    {0, 1, 5, 3, 4, 5, 5, 5},  // STOP
    {0, 5, 2, 5, 5, 5, 6, 5},  // RUNNING
    {0, 1, 1, 3, 1, 1, 0, 0},  // STOP_COPY
    {0, 1, 1, 1, 4, 1, 1, 1},  // RESUMING
    {0, 1, 2, 1, 1, 5, 2, 7},  // RUNNING_P2P
    {0, 2, 2, 7, 2, 2, 6, 7},  // PRE_COPY
    {0, 5, 5, 3, 5, 5, 6, 7},  // PRE_COPY_P2P
}};

bool IsSupported(uint32_t state, uint64_t flags) {
  uint64_t needed = uapi::VFIO_MIGRATION_STOP_COPY;
  if (state == uapi::VFIO_DEVICE_STATE_ERROR) needed = ~uint64_t{0};
  if (state == uapi::VFIO_DEVICE_STATE_RUNNING_P2P) needed |= uapi::VFIO_MIGRATION_P2P;
  if (state == uapi::VFIO_DEVICE_STATE_PRE_COPY) needed |= uapi::VFIO_MIGRATION_PRE_COPY;
  if (state == uapi::VFIO_DEVICE_STATE_PRE_COPY_P2P) {
    needed |= uapi::VFIO_MIGRATION_P2P | uapi::VFIO_MIGRATION_PRE_COPY;
  }
  return (flags & needed) == needed;
}

template <typename Payload>
Payload& PayloadOf(uapi::vfio_device_feature& feature) {
  return *reinterpret_cast<Payload*>(&feature + 1);
}

int GetMigration(uapi::vfio_device_feature& feature, const Migration& migration) {
  auto& payload = PayloadOf<uapi::vfio_device_feature_migration>(feature);
  const auto checked = CheckFeature(feature, uapi::VFIO_DEVICE_FEATURE_GET, sizeof(payload));
  if (checked) return *checked;
  payload.flags = migration.flags();
  return 0;
}

int DeviceState(uapi::vfio_device_feature& feature, Migration& migration, FileTable& table) {
  auto& payload = PayloadOf<uapi::vfio_device_feature_mig_state>(feature);
  const auto checked =
      CheckFeature(feature, uapi::VFIO_DEVICE_FEATURE_GET | uapi::VFIO_DEVICE_FEATURE_SET, sizeof(payload));
  if (checked) return *checked;
  std::shared_ptr<File> file;
  int result = 0;
  if ((feature.flags & uapi::VFIO_DEVICE_FEATURE_GET) != 0) {
    payload.device_state = migration.state();
  } else {
    result = migration.SetState(payload.device_state, &file);
  }
  if (result == 0 && file) {
    const int fd = table.Install(std::move(file), "migration");
    if (fd < 0) return fd;
    payload.data_fd = fd;
  } else {
    payload.data_fd = -1;
  }
  return result;
}

int GetDataSize(uapi::vfio_device_feature& feature, const Migration& migration) {
  auto& payload = PayloadOf<uapi::vfio_device_feature_mig_data_size>(feature);
  const auto checked = CheckFeature(feature, uapi::VFIO_DEVICE_FEATURE_GET, sizeof(payload));
  if (checked) return *checked;
  payload.stop_copy_length = migration.DataSize();
  return 0;
}

int StartLogging(uapi::vfio_device_feature& feature, DmaLog& log) {
  auto& control = PayloadOf<uapi::vfio_device_feature_dma_logging_control>(feature);
  const auto checked = CheckFeature(feature, uapi::VFIO_DEVICE_FEATURE_SET, sizeof(control));
  if (checked) return *checked;
  if (control.num_ranges == 0) return -EINVAL;
  if (control.num_ranges > kMostRanges) return -E2BIG;
  std::vector<DmaLog::Range> ranges;
  for (uint32_t i = 0; i < control.num_ranges; ++i) {
    uapi::vfio_device_feature_dma_logging_range given = {};
    if (!CopyFromUser(&given, UserPointer(control.ranges + i * sizeof(given)), sizeof(given))) return -EFAULT;
    const auto& [iova, length] = given;
    if (((iova | length) & (control.page_size - 1)) != 0) return -EINVAL;
    uint64_t end = 0;
    if (__builtin_add_overflow(iova, length, &end)) return -EOVERFLOW;
    const DmaLog::Range range = {iova, end - 1};
    const bool overlaps = std::ranges::any_of(
        ranges, [&](const auto& other) { return other.start <= range.last && range.start <= other.last; });
    if (overlaps) return -EINVAL;
    ranges.push_back(range);
  }
  return log.Start(ranges, &control.page_size);
}

int StopLogging(const uapi::vfio_device_feature& feature, DmaLog& log) {
  const auto checked = CheckFeature(feature, uapi::VFIO_DEVICE_FEATURE_SET, 0);
  return checked ? *checked : log.Stop();
}

// Only sets bits; bits that are set already stay.
int ReportLogging(uapi::vfio_device_feature& feature, DmaLog& log) {
  const auto& report = PayloadOf<uapi::vfio_device_feature_dma_logging_report>(feature);
  const auto checked = CheckFeature(feature, uapi::VFIO_DEVICE_FEATURE_GET, sizeof(report));
  if (checked) return *checked;
  if (report.page_size < kLeastPageSize || !std::has_single_bit(report.page_size)) return -EINVAL;
  uint64_t end = 0;
  if (__builtin_add_overflow(report.iova, report.length, &end)) return -EOVERFLOW;
  UserBitmap bitmap(report.bitmap);
  bool written = true;
  const int result = log.ReadAndClear(report.iova, report.length, [&](uint64_t iova, uint64_t length) {
    const uint64_t first = (iova - report.iova) / report.page_size;
    const uint64_t last = (iova + length - 1 - report.iova) / report.page_size;
    written = bitmap.Set(first, last) && written;
  });
  return result == 0 && !written ? -EFAULT : result;
}

}  // namespace

int CheckHeader(const uapi::vfio_device_feature& feature) {
  constexpr uint32_t kBoth = uapi::VFIO_DEVICE_FEATURE_GET | uapi::VFIO_DEVICE_FEATURE_SET;
  constexpr uint32_t kKnown = uapi::VFIO_DEVICE_FEATURE_MASK | kBoth | uapi::VFIO_DEVICE_FEATURE_PROBE;
  if (feature.argsz < sizeof(feature) || (feature.flags & ~kKnown) != 0) return -EINVAL;
  return (feature.flags & (kBoth | uapi::VFIO_DEVICE_FEATURE_PROBE)) == kBoth ? -EINVAL : 0;
}

std::optional<int> CheckFeature(const uapi::vfio_device_feature& feature, uint32_t operations, std::size_t payload) {
  const uint32_t asked = feature.flags & (uapi::VFIO_DEVICE_FEATURE_GET | uapi::VFIO_DEVICE_FEATURE_SET);
  if ((asked & ~operations) != 0) return -EINVAL;
  if ((feature.flags & uapi::VFIO_DEVICE_FEATURE_PROBE) != 0) return 0;
  if (asked == 0 || feature.argsz - sizeof(feature) < payload) return -EINVAL;
  if (!CopyArrayFromUser<uint8_t>(&feature + 1, payload)) return -EFAULT;
  return std::nullopt;
}

int Migration::SetState(uint32_t state, std::shared_ptr<File>* file) {
  while (state_ != state) {
    if (state >= kStates || !IsSupported(state, flags_)) return -EINVAL;
    uint32_t next = kNext.at(state_).at(state);
    while (next != uapi::VFIO_DEVICE_STATE_ERROR && !IsSupported(next, flags_)) next = kNext.at(next).at(state);
    if (next == uapi::VFIO_DEVICE_STATE_ERROR) return -EINVAL;
    if (const int result = Step(next, file); result != 0) return result;
    state_ = next;
  }
  return 0;
}

std::optional<int> CoreFeature(uapi::vfio_device_feature& feature, Migration* migration, DmaLog* log,
                               FileTable& table) {
  switch (feature.flags & uapi::VFIO_DEVICE_FEATURE_MASK) {
    case uapi::VFIO_DEVICE_FEATURE_MIGRATION:
      return migration ? GetMigration(feature, *migration) : -ENOTTY;
    case uapi::VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE:
      return migration ? DeviceState(feature, *migration, table) : -ENOTTY;
    case uapi::VFIO_DEVICE_FEATURE_MIG_DATA_SIZE:
      return migration ? GetDataSize(feature, *migration) : -ENOTTY;
    case uapi::VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2: {
      if (!migration || (migration->flags() & uapi::VFIO_MIGRATION_PRE_COPY) == 0) return -EINVAL;
      const auto checked = CheckFeature(feature, uapi::VFIO_DEVICE_FEATURE_SET, 0);
      if (!checked) migration->EnablePrecopyInfoV2();
      return checked.value_or(0);
    }
    case uapi::VFIO_DEVICE_FEATURE_DMA_LOGGING_START:
      return log ? StartLogging(feature, *log) : -ENOTTY;
    case uapi::VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP:
      return log ? StopLogging(feature, *log) : -ENOTTY;
    case uapi::VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT:
      return log ? ReportLogging(feature, *log) : -ENOTTY;
    default:
      return std::nullopt;
  }
}

}  // namespace fake
