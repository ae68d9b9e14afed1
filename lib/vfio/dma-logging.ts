// DMA logging: the device's log of the pages that it writes to, for migration with guest memory.
import { data, shown } from '../addon/shown';
import { type Key, onlyInside } from '../errors/key';
import { kernelCall, kernelCallAsync } from '../errors/errors';
import { native } from '../addon/native';
import { array, fields, integer, options, outOfRange, u64 } from '../errors/validate';
import type { DeviceFile } from './device-file';

const mostRanges = 65536; // the kernel's limit is lower: as many as fit in a page, 256
const mostPages = 1n << 30n;

/** A range of an I/O address space, in bytes. */
export interface IovaRange {
  iova: bigint;
  length: bigint;
}

/** A range of an I/O address space as an argument, in bytes. */
export interface IovaRangeInput {
  iova: number | bigint;
  length: number | bigint;
}

/** A device's log of its DMA writes. If the driver does not support it, all methods throw ENOTTY. */
export class DmaLogging {
  readonly #device: DeviceFile;

  static {
    shown(this, ['device', (logging) => logging.#device.address]);
  }

  /** @internal */
  constructor(made: Key, device: DeviceFile) {
    onlyInside(made, 'DmaLogging', 'use VfioDevice#dmaLogging');
    this.#device = device;
  }

  /**
   * Starts the log for these ranges (VFIO_DEVICE_FEATURE_DMA_LOGGING_START). `pageSize` is the requested page size in
   * bytes. Returns the page size that the device uses, which may differ.
   *
   * @throws KernelError EINVAL: no range, ranges that overlap or are not multiples of the page size, or the log is
   *   started already. E2BIG: more than 256 ranges. EOVERFLOW: past 2^64 - 1. ENOTTY: the device does not support a
   *   log.
   */
  async start(opts: { ranges: readonly IovaRangeInput[]; pageSize: number | bigint }): Promise<bigint> {
    const { pageSize, words } = toStart(opts);
    const device = this.#device.handle;
    const call = kernelCallAsync(args(this.#device, pageSize, words), () =>
      native.dmaLoggingStart(device, pageSize, words, true),
    );
    return this.#device.track(call);
  }

  /** Synchronous version of {@link start}. */
  startSync(opts: { ranges: readonly IovaRangeInput[]; pageSize: number | bigint }): bigint {
    const { pageSize, words } = toStart(opts);
    return kernelCall(args(this.#device, pageSize, words), () =>
      native.dmaLoggingStart(this.#device.handle, pageSize, words, false),
    );
  }

  /** Stops the log (VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP). */
  async stop(): Promise<void> {
    const device = this.#device.handle;
    await this.#device.track(kernelCallAsync(this.#device.args(), () => native.dmaLoggingStop(device, true)));
  }

  /** Synchronous version of {@link stop}. */
  stopSync(): void {
    kernelCall(this.#device.args(), () => native.dmaLoggingStop(this.#device.handle, false));
  }

  /**
   * Returns the parts of a range that the device has written to since the last report or the start, in ascending order,
   * and clears them in the log (VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT). At most 2^30 pages per call (RangeError).
   *
   * @throws KernelError EINVAL: a page size that is not a power of two or less than 4096, or the log is not started.
   *   EOVERFLOW: past 2^64 - 1. ENOTTY: the device does not support a log.
   */
  async report(opts: IovaRangeInput & { pageSize: number | bigint }): Promise<IovaRange[]> {
    const { iova, length, pageSize } = toReport(opts);
    const device = this.#device.handle;
    const call = kernelCallAsync({ ...this.#device.args(), iova, length, pageSize }, () =>
      native.dmaLoggingReport(device, iova, length, pageSize, true),
    );
    return toRanges(await this.#device.track(call));
  }

  /** Synchronous version of {@link report}. */
  reportSync(opts: IovaRangeInput & { pageSize: number | bigint }): IovaRange[] {
    const { iova, length, pageSize } = toReport(opts);
    return toRanges(
      kernelCall({ ...this.#device.args(), iova, length, pageSize }, () =>
        native.dmaLoggingReport(this.#device.handle, iova, length, pageSize, false),
      ),
    );
  }
}

function args(device: DeviceFile, pageSize: bigint, words: BigUint64Array) {
  return { ...device.args(), pageSize, iova: words[0], length: words[1], ranges: words.length / 2 };
}

function toStart(opts: { ranges: readonly IovaRangeInput[]; pageSize: number | bigint }) {
  const what = options(opts, ['ranges', 'pageSize']);
  const ranges = array(what.ranges, 'ranges');
  integer(ranges.length, 'ranges.length', 0, mostRanges);
  const words = new BigUint64Array(2 * ranges.length);
  for (const [i, range] of ranges.entries()) {
    const { iova, length } = fields(range, 'range');
    words[2 * i] = u64(iova, 'iova');
    words[2 * i + 1] = u64(length, 'length');
  }
  return { pageSize: u64(what.pageSize, 'pageSize'), words };
}

function toReport(opts: IovaRangeInput & { pageSize: number | bigint }) {
  const what = options(opts, ['iova', 'length', 'pageSize']);
  const [iova, length] = [u64(what.iova, 'iova'), u64(what.length, 'length')];
  const pageSize = u64(what.pageSize, 'pageSize', 1n);
  if (length / pageSize > mostPages) throw outOfRange('length', `at most ${String(mostPages)} pages`, length);
  return { iova, length, pageSize };
}

function toRanges(words: BigUint64Array): IovaRange[] {
  const ranges = Array.from({ length: words.length / 2 }, (_, i) => ({
    iova: words[2 * i] ?? 0n,
    length: words[2 * i + 1] ?? 0n,
  }));
  return data(ranges);
}
