// Migration and DMA logging of VFIO devices.
#include "core/migration.h"

#include "binding/addon.h"
#include "core/dma_logging.h"

namespace binding {

template <>
Napi::Value ToJs(Napi::Env env, const uapi::vfio_precopy_info& info) {
  return Record(env)
      .Define("flags", info.flags)
      .Define("initialBytes", info.initial_bytes)
      .Define("dirtyBytes", info.dirty_bytes);
}

// BigUint64Array [IOVA, length, IOVA, length, …]
template <>
Napi::Value ToJs(Napi::Env env, const std::vector<core::DmaRange>& ranges) {
  std::vector<uint64_t> words;
  for (const auto& range : ranges) words.insert(words.end(), {range.iova, range.length});
  return ToJs(env, words);
}

void InitMigration(Napi::Env env, Napi::Object exports) {
  Export<core::GetMigrationFlags>(env, exports, "migrationFlags");
  Export<core::GetMigrationState>(env, exports, "migrationState");
  ExportAsync<core::SetMigrationState>(env, exports, "migrationSetState");
  Export<core::GetMigrationDataSize>(env, exports, "migrationDataSize");
  Export<core::EnablePrecopyInfoV2>(env, exports, "migrationEnablePrecopyInfo2");
  Export<core::GetPrecopyInfo>(env, exports, "migrationPrecopyInfo");
  ExportAsync<core::StartDmaLogging>(env, exports, "dmaLoggingStart");
  ExportAsync<core::StopDmaLogging>(env, exports, "dmaLoggingStop");
  ExportAsync<core::ReportDmaLogging>(env, exports, "dmaLoggingReport");
}

}  // namespace binding
