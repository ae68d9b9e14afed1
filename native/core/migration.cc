// The migration features of a VFIO device.
#include "core/migration.h"

namespace core {

uint64_t GetMigrationFlags(const VfioDevice& device) {
  return device.Feature(VFIO_DMABUF_FEATURE(GET, MIGRATION), uapi::vfio_device_feature_migration{}).flags;
}

uint32_t GetMigrationState(const VfioDevice& device) {
  return device.Feature(VFIO_DMABUF_FEATURE(GET, MIG_DEVICE_STATE), uapi::vfio_device_feature_mig_state{}).device_state;
}

std::shared_ptr<Fd> SetMigrationState(const VfioDevice& device, uint32_t state) {
  const auto payload = device.Feature(VFIO_DMABUF_FEATURE(SET, MIG_DEVICE_STATE),
                                      uapi::vfio_device_feature_mig_state{.device_state = state, .data_fd = -1});
  return payload.data_fd < 0 ? nullptr : std::make_shared<Fd>(device.fd().kernel(), payload.data_fd);
}

uint64_t GetMigrationDataSize(const VfioDevice& device) {
  return device.Feature(VFIO_DMABUF_FEATURE(GET, MIG_DATA_SIZE), uapi::vfio_device_feature_mig_data_size{})
      .stop_copy_length;
}

void EnablePrecopyInfoV2(const VfioDevice& device) { device.Feature(VFIO_DMABUF_FEATURE(SET, MIG_PRECOPY_INFOv2)); }

uapi::vfio_precopy_info GetPrecopyInfo(const Fd& data) {
  return data.Call(VFIO_DMABUF_REQUEST(VFIO_MIG_GET_PRECOPY_INFO), uapi::vfio_precopy_info{});
}

}  // namespace core
