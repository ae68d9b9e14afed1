// Every ioctl, published on a diagnostics channel while somebody listens.
import { channel } from 'node:diagnostics_channel';
import { errnoName } from './errno';
import { native, type TraceHandle } from './native';

/** What is published on the channel `vfio-dmabuf:ioctl`. */
export interface IoctlMessage {
  /** The request's name in the kernel's headers ('IOMMU_IOAS_MAP_FILE'); of VFIO_DEVICE_FEATURE, the feature's. */
  ioctl: string;
  fd: number;
  /** What the fd is open on ('/dev/vfio/devices/vfio0'), if that can still be told. */
  file: string;
  /** What the kernel returned; a negated errno when it refused. */
  result: number;
  /** The errno's name, when it refused. */
  code: string | undefined;
  /** When the call began: nanoseconds, as process.hrtime.bigint(). */
  start: bigint;
  /** Nanoseconds that it took. */
  duration: number;
  /** How many calls after this one are missing, as too many waited to be published. */
  dropped: number;
}

/** The channel's name: `diagnostics_channel.subscribe(ioctlChannel, (message) => …)`. */
export const ioctlChannel = 'vfio-dmabuf:ioctl';

const ioctls = channel(ioctlChannel);
let trace: TraceHandle | undefined;

let waiting: NodeJS.Immediate | undefined;

/** Before and after native calls: sees whether somebody listens. Costs a property when nobody does. @internal */
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

/** Publishes the calls that were made, rather than in the next turn of the event loop. @internal */
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
