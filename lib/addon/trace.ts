// Publishes every ioctl on a diagnostics channel while it has subscribers.
import { channel } from 'node:diagnostics_channel';
import { errnoName } from './errno';
import { native, type TraceHandle } from './native';

/** The message on the channel `vfio-dmabuf:ioctl`. */
export interface IoctlMessage {
  /**
   * The request's name in the kernel's headers ('IOMMU_IOAS_MAP_FILE'). For VFIO_DEVICE_FEATURE, the feature's name.
   */
  ioctl: string;
  fd: number;
  /** The file that the fd refers to ('/dev/vfio/devices/vfio0'), if it is still known. */
  file: string;
  /** The kernel's return value, or a negative errno on failure. */
  result: number;
  /** The errno's name on failure. */
  code: string | undefined;
  /** The start of the call in nanoseconds, as process.hrtime.bigint(). */
  start: bigint;
  /** The duration in nanoseconds. */
  duration: number;
  /** The number of later calls that were dropped because too many messages were pending. */
  dropped: number;
}

/** The channel's name: `diagnostics_channel.subscribe(ioctlChannel, (message) => …)`. */
export const ioctlChannel = 'vfio-dmabuf:ioctl';

const ioctls = channel(ioctlChannel);
let trace: TraceHandle | undefined;

let waiting: NodeJS.Immediate | undefined;

/**
 * Called before and after native calls: starts or stops the trace when subscribers change. Without subscribers it costs
 * one property access. @internal
 */
export function followSubscribers(): void {
  if (ioctls.hasSubscribers || trace !== undefined) follow();
}

function follow(): void {
  if (ioctls.hasSubscribers) {
    trace ??= native.traceStart();
    waiting ??= setImmediate(publish);
  } else if (trace) {
    native.traceStop(trace);
    trace = undefined;
  }
}

/** Publishes the recorded calls now instead of in the next iteration of the event loop. @internal */
export function publish(): void {
  clearImmediate(waiting);
  waiting = undefined;
  if (!trace) return;
  const { calls, dropped } = native.traceTake(trace);
  for (const [i, call] of calls.entries()) {
    const message: IoctlMessage = {
      ...call,
      code: call.result < 0 ? errnoName(-call.result) : undefined,
      dropped: i === calls.length - 1 ? dropped : 0,
    };
    ioctls.publish(message);
  }
}
