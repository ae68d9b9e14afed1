// The migration features of a VFIO device.
#include "core/migration.h"

namespace core {

uint64_t GetMigrationFlags(const VfioDevice& device) {
  uapi::vfio_device_feature_migration payload = {};
  device.Feature(uapi::VFIO_DEVICE_FEATURE_GET | uapi::VFIO_DEVICE_FEATURE_MIGRATION, "VFIO_DEVICE_FEATURE_MIGRATION",
                 &payload, sizeof(payload));
  return payload.flags;
}

uint32_t GetMigrationState(const VfioDevice& device) {
  uapi::vfio_device_feature_mig_state payload = {};
  device.Feature(uapi::VFIO_DEVICE_FEATURE_GET | uapi::VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
                 "VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE", &payload, sizeof(payload));
  return payload.device_state;
}

std::shared_ptr<Fd> SetMigrationState(const VfioDevice& device, uint32_t state) {
  uapi::vfio_device_feature_mig_state payload = {.device_state = state, .data_fd = -1};
  device.Feature(uapi::VFIO_DEVICE_FEATURE_SET | uapi::VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
                 "VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE", &payload, sizeof(payload));
  return payload.data_fd < 0 ? nullptr : std::make_shared<Fd>(device.fd().kernel(), payload.data_fd);
}

uint64_t GetMigrationDataSize(const VfioDevice& device) {
  uapi::vfio_device_feature_mig_data_size payload = {};
  device.Feature(uapi::VFIO_DEVICE_FEATURE_GET | uapi::VFIO_DEVICE_FEATURE_MIG_DATA_SIZE,
                 "VFIO_DEVICE_FEATURE_MIG_DATA_SIZE", &payload, sizeof(payload));
  return payload.stop_copy_length;
}

void EnablePrecopyInfoV2(const VfioDevice& device) {
  device.Feature(uapi::VFIO_DEVICE_FEATURE_SET | uapi::VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2,
                 "VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2");
}

uapi::vfio_precopy_info GetPrecopyInfo(const Fd& data) {
  const auto info = data.Call(VFIO_DMABUF_REQUEST(VFIO_MIG_GET_PRECOPY_INFO), uapi::vfio_precopy_info{});
  return info;
}

}  // namespace core
