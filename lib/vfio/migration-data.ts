// MigrationData: the file for a device's migration data.
import { data, shown } from '../addon/shown';
import { type Key, onlyInside } from '../errors/key';
import type { Parents } from '../lifetime/parents';
import type { Readable, Writable } from 'node:stream';
import { kernelCall, kernelCallAsync, KernelError } from '../errors/errors';
import { Closable } from '../lifetime/closable';
import type { End } from '../lifetime/lifetime';
import { native, type FdHandle } from '../addon/native';
import { pollEvents, Watch } from '../events/poll';
import { bytes as toBytes, instance, integer, options } from '../errors/validate';
import { resumedState, savedState } from './migration-streams';

const reinitFlag = 1 << 0; // linux/vfio.h
const mostAtOnce = 1 << 30;
const chunk = 64 * 1024;

/** The amount of data that a running device still has to save. */
export interface PrecopyInfo {
  /**
   * Initial data in bytes. Wait until it is 0 before you set 'stop-copy': otherwise, the device is stopped for longer.
   */
  initialBytes: bigint;
  /** Data that has changed since it was read, in bytes. */
  dirtyBytes: bigint;
  /** Whether there is new initial data. Set only after {@link Migration.enableReinit}. */
  reinit: boolean;
}

/** The options of a stream. */
export interface StreamOptions {
  /** Destroys the stream with an AbortError. */
  signal?: AbortSignal;
  /** The stream's buffer size in bytes, for reading ahead or for writes. Default: 64 KiB. */
  highWaterMark?: number;
}

/** How a device's state is moved. */
export interface MoveOptions extends StreamOptions {
  /** Saves state while the device runs, which shortens the time for which it is stopped. Default: false. */
  preCopy?: boolean;
  /** Whether the target is set to 'running' afterwards. Default: true. If false, it is set to 'stop'. */
  start?: boolean;
}

/** @param more further options of the method @internal */
export function streamOptions(
  opts: MoveOptions | undefined,
  ...more: ('preCopy' | 'start')[]
): { signal?: AbortSignal; highWaterMark: number } {
  const { signal, highWaterMark } = options(opts, ['signal', 'highWaterMark', ...more]);
  if (signal !== undefined) instance(signal, 'signal', AbortSignal);
  return {
    ...(signal === undefined ? {} : { signal }),
    highWaterMark: integer(highWaterMark ?? chunk, 'highWaterMark', 1, mostAtOnce),
  };
}

/**
 * The file through which the kernel moves a device's state in one direction. Its methods and its streams share one file
 * position.
 */
export class MigrationData extends Closable {
  readonly migration: Parents['Migration'];
  /** 'save': data from the device. 'resume': data to the device. */
  readonly direction: 'save' | 'resume';
  readonly #fd: FdHandle;
  readonly #waiting = new Set<() => void>();

  static readonly #end: End<MigrationData> = {
    what: 'migration data',
    close: (data) => {
      data.wake();
      native.fdClose(data.#fd, false);
      data.migration.forget(data);
    },
  };

  static {
    shown(this, 'closed', 'fd', 'direction');
  }

  /** @param fd this object takes ownership of it @internal */
  constructor(made: Key, migration: Parents['Migration'], direction: 'save' | 'resume', fd: FdHandle) {
    onlyInside(made, 'MigrationData', 'use Migration#setState()');
    super(MigrationData.#end);
    this.migration = migration;
    this.direction = direction;
    this.#fd = fd;
  }

  get #handle(): FdHandle {
    this.check();
    return this.#fd;
  }

  /** The file descriptor's number, for passing it on. This object owns it: do not close it. */
  get fd(): number {
    return native.fdNumber(this.#handle);
  }

  /**
   * Returns the amount of data that a device in 'pre-copy' still has to save (VFIO_MIG_GET_PRECOPY_INFO).
   *
   * @throws KernelError EINVAL: the device is not in 'pre-copy' or 'pre-copy-p2p'. ENODEV: this save has ended. ENOTTY:
   *   the direction is 'resume', or the driver does not support pre-copy.
   */
  precopyInfo(): PrecopyInfo {
    const info = kernelCall(this.#args(), () => native.migrationPrecopyInfo(this.#handle));
    return data({
      initialBytes: info.initialBytes,
      dirtyBytes: info.dirtyBytes,
      reinit: (info.flags & reinitFlag) !== 0,
    });
  }

  /**
   * Reads up to `size` bytes of the device's state. An empty buffer means the end of the data or, while the device is
   * in 'pre-copy', that there is no more data yet.
   *
   * @throws KernelError ENODEV: the device was reset, or has left the saving state. EBADF: the direction is 'resume'.
   */
  async read(size: number = chunk): Promise<Buffer> {
    const [fd, count] = [this.#handle, integer(size, 'size', 1, mostAtOnce)];
    try {
      return toBuffer(await this.calls.add(kernelCallAsync(this.#args(), () => native.fdRead(fd, count, true))));
    } catch (error) {
      return noneForNow(error);
    }
  }

  /** Synchronous version of {@link read}. */
  readSync(size: number = chunk): Buffer {
    const count = integer(size, 'size', 1, mostAtOnce);
    try {
      return toBuffer(kernelCall(this.#args(), () => native.fdRead(this.#handle, count, false)));
    } catch (error) {
      return noneForNow(error);
    }
  }

  /**
   * Writes saved state. Returns the number of bytes that the kernel accepted.
   *
   * @throws KernelError EFAULT, EINVAL: the data were not saved by a device of this kind. ENOMEM: more data than such a
   *   device saves. ENODEV: the device was reset, or has left 'resuming'. EBADF: the direction is 'save'.
   */
  async write(data: Uint8Array): Promise<number> {
    const [fd, array] = [this.#handle, toBytes(data, 'data')];
    return this.calls.add(kernelCallAsync(this.#args(), () => native.fdWrite(fd, array, true)));
  }

  /** Synchronous version of {@link write}. */
  writeSync(data: Uint8Array): number {
    const array = toBytes(data, 'data');
    return kernelCall(this.#args(), () => native.fdWrite(this.#handle, array, false));
  }

  /**
   * Returns a stream of the device's state. It ends when all data are read and the device is in 'stop-copy'. While the
   * device is in 'pre-copy', 'idle' is emitted each time there is no more data yet. The stream owns this object and
   * closes it at its end.
   */
  readable(opts?: StreamOptions): Readable {
    const settings = streamOptions(opts);
    this.check();
    return savedState(this, settings, () => this.#more());
  }

  /**
   * Returns a stream that writes to the device. The stream owns this object and closes it when it has finished.
   *
   * @throws Error ERR_CLOSED. The stream's error can be one of {@link write}, or ERR_MIGRATION_STUCK: the driver
   *   accepts no bytes.
   */
  writable(opts?: StreamOptions): Writable {
    const settings = streamOptions(opts);
    this.check();
    return resumedState(this, settings);
  }

  #args() {
    return { device: this.migration.address, direction: this.direction };
  }

  /** Resolves when there may be more data to read: the device's state has changed, or its driver signals data. */
  #more(): Promise<void> {
    if (this.closed) return Promise.resolve();
    return new Promise((resolve) => {
      let watch: Watch | undefined;
      const done = () => {
        this.#waiting.delete(done);
        watch?.close();
        resolve();
      };
      this.#waiting.add(done);
      try {
        watch = new Watch(this.#fd, pollEvents.readable, done);
      } catch {
        // EPERM: this driver's files do not support epoll. Only changes of the device's state resolve the promise.
      }
    });
  }

  /** Resolves the promises that wait for more data. @internal */
  wake(): void {
    for (const done of [...this.#waiting]) done();
  }

  /** Closes the file. If calls are running, it is closed after the last of them. The device's state does not change. */
  override close(): void {
    super.close();
  }
}

function toBuffer({ buffer, byteOffset, length }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, length);
}

/** ENOMSG: there is no more data until the device stops. Some drivers return an empty read instead. */
function noneForNow(error: unknown): Buffer {
  if (error instanceof KernelError && error.code === 'ENOMSG') return Buffer.alloc(0);
  throw error;
}
