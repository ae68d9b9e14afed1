// Migration and DMA logging of VFIO devices.
#include "core/migration.h"

#include "binding/addon.h"
#include "binding/call.h"
#include "binding/handle.h"
#include "core/dma_logging.h"

namespace binding {
namespace {

// migrationFlags(device): bigint
Napi::Value MigrationFlags(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  return FromU64(info.Env(), core::GetMigrationFlags(*device));
}

// migrationState(device): number
Napi::Value MigrationState(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  return Napi::Number::New(info.Env(), core::GetMigrationState(*device));
}

// migrationSetState(device, state, async): Fd | undefined
Napi::Value MigrationSetState(const Napi::CallbackInfo& info) {
  return Run(
      info.Env(), info[2],
      [device = Unwrap<core::VfioDevice>(info[0]), state = ToU32(info[1])] {
        return core::SetMigrationState(*device, state);
      },
      [](Napi::Env env, std::shared_ptr<core::Fd> data) -> Napi::Value {
        return data ? Wrap(env, std::move(data)) : env.Undefined();
      });
}

// migrationDataSize(device): bigint
Napi::Value MigrationDataSize(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  return FromU64(info.Env(), core::GetMigrationDataSize(*device));
}

// migrationEnablePrecopyInfo2(device)
void MigrationEnablePrecopyInfo2(const Napi::CallbackInfo& info) {
  const auto device = Unwrap<core::VfioDevice>(info[0]);
  core::EnablePrecopyInfoV2(*device);
}

// migrationPrecopyInfo(data): { flags, initialBytes, dirtyBytes }
Napi::Value MigrationPrecopyInfo(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const auto data = Unwrap<core::Fd>(info[0]);
  const auto answer = core::GetPrecopyInfo(*data);
  Record result(env);
  result.Define("flags", answer.flags);
  result.Define("initialBytes", FromU64(env, answer.initial_bytes));
  result.Define("dirtyBytes", FromU64(env, answer.dirty_bytes));
  return result;
}

// dmaLoggingStart(device, pageSize, BigUint64Array [IOVA, length, IOVA, length, …], async): bigint, the page size
Napi::Value DmaLoggingStart(const Napi::CallbackInfo& info) {
  const auto words = ToArray<Napi::BigUint64Array>(info[2], napi_biguint64_array);
  std::vector<core::DmaRange> ranges;
  for (std::size_t i = 0; i + 1 < words.ElementLength(); i += 2) ranges.push_back({words[i], words[i + 1]});
  return Run(
      info.Env(), info[3],
      [device = Unwrap<core::VfioDevice>(info[0]), page_size = ToU64(info[1]), ranges = std::move(ranges)] {
        return core::StartDmaLogging(*device, page_size, ranges);
      },
      FromU64);
}

// dmaLoggingStop(device, async)
Napi::Value DmaLoggingStop(const Napi::CallbackInfo& info) {
  return Run(
      info.Env(), info[1],
      [device = Unwrap<core::VfioDevice>(info[0])] {
        core::StopDmaLogging(*device);
        return Nothing{};
      },
      FromNothing);
}

// dmaLoggingReport(device, iova, length, pageSize, async): BigUint64Array [IOVA, length, IOVA, length, …]
Napi::Value DmaLoggingReport(const Napi::CallbackInfo& info) {
  return Run(
      info.Env(), info[4],
      [device = Unwrap<core::VfioDevice>(info[0]), iova = ToU64(info[1]), length = ToU64(info[2]),
       page_size = ToU64(info[3])] { return core::ReportDmaLogging(*device, iova, length, page_size); },
      [](Napi::Env env, const std::vector<core::DmaRange>& ranges) -> Napi::Value {
        auto words = Napi::BigUint64Array::New(env, 2 * ranges.size());
        for (std::size_t i = 0; i < ranges.size(); ++i) {
          words[2 * i] = ranges[i].iova;
          words[2 * i + 1] = ranges[i].length;
        }
        return words;
      });
}

}  // namespace

void InitMigration(Napi::Env env, Napi::Object exports) {
  Export<MigrationFlags>(env, exports, "migrationFlags");
  Export<MigrationState>(env, exports, "migrationState");
  Export<MigrationSetState>(env, exports, "migrationSetState");
  Export<MigrationDataSize>(env, exports, "migrationDataSize");
  Export<MigrationEnablePrecopyInfo2>(env, exports, "migrationEnablePrecopyInfo2");
  Export<MigrationPrecopyInfo>(env, exports, "migrationPrecopyInfo");
  Export<DmaLoggingStart>(env, exports, "dmaLoggingStart");
  Export<DmaLoggingStop>(env, exports, "dmaLoggingStop");
  Export<DmaLoggingReport>(env, exports, "dmaLoggingReport");
}

}  // namespace binding
