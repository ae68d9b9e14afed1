// The data that a device's migration moves, out of it or into it.
import type { Parents } from '../lifetime/parents';
import { Readable, Writable } from 'node:stream';
import { codedError, kernelCall, kernelCallAsync, KernelError } from '../errors/errors';
import { Closable } from '../lifetime/closable';
import type { End } from '../lifetime/lifetime';
import { native, type FdHandle } from '../addon/native';
import { pollEvents, Watch } from '../events/poll';
import { bytes as toBytes, instance, integer, options } from '../errors/validate';

const reinitFlag = 1 << 0; // linux/vfio.h
const mostAtOnce = 1 << 30;
const chunk = 64 * 1024;

/** How much a device that is still running has to save. */
export interface PrecopyInfo {
  /** Bytes that are there from the start. Go to 'stop-copy' when they are 0: before, stopping takes longer. */
  initialBytes: bigint;
  /** Bytes that have changed since they were read. */
  dirtyBytes: bigint;
  /** Whether there are new initial bytes; only after {@link Migration.enableReinit}. */
  reinit: boolean;
}

/** How a stream is made. */
export interface StreamOptions {
  /** Destroys the stream, with an AbortError. */
  signal?: AbortSignal;
  /** How many bytes are read ahead, or held until they are written: 64 KiB unless told. */
  highWaterMark?: number;
}

/** @internal */
export function streamOptions(opts: StreamOptions | undefined): { signal?: AbortSignal; highWaterMark: number } {
  const { signal, highWaterMark } = options(opts);
  if (signal !== undefined) instance(signal, 'signal', AbortSignal);
  return {
    ...(signal === undefined ? {} : { signal }),
    highWaterMark: integer(highWaterMark ?? chunk, 'highWaterMark', 1, mostAtOnce),
  };
}

/** Resolves when there may be more to read: the device's state has changed, or its driver says so. */
let more: (data: MigrationData) => Promise<void>;

/**
 * The file that the kernel moves a device's state through, one way. Its methods and a stream of it take from or add to
 * the same position.
 */
export class MigrationData extends Closable {
  readonly migration: Parents['Migration'];
  /** 'save': out of the device. 'resume': into it. */
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
    more = (data) => data.#more();
  }

  /** Takes the fd over. @internal */
  constructor(migration: Parents['Migration'], direction: 'save' | 'resume', fd: FdHandle) {
    super(MigrationData.#end);
    this.migration = migration;
    this.direction = direction;
    this.#fd = fd;
  }

  get #handle(): FdHandle {
    this.check();
    return this.#fd;
  }

  /** The file descriptor, to hand on. It stays this object's: do not close it. */
  get fd(): number {
    return native.fdNumber(this.#handle);
  }

  /**
   * What a device in 'pre-copy' still has to save (VFIO_MIG_GET_PRECOPY_INFO).
   *
   * @throws KernelError EINVAL: the device is not in 'pre-copy' or 'pre-copy-p2p'. ENODEV: this save is over. ENOTTY: data
   *   to resume, or a driver without pre-copy.
   */
  precopyInfo(): PrecopyInfo {
    const info = kernelCall(this.#args(), () => native.migrationPrecopyInfo(this.#handle));
    return {
      initialBytes: info.initialBytes,
      dirtyBytes: info.dirtyBytes,
      reinit: (info.flags & reinitFlag) !== 0,
    };
  }

  /**
   * Reads up to `size` bytes of the device's state. None: that was all, or, while the device is in 'pre-copy', all for now.
   *
   * @throws KernelError ENODEV: the device was reset, or has left the state that saves. EBADF: data to resume.
   */
  async read(size: number = chunk): Promise<Buffer> {
    const [fd, count] = [this.#handle, integer(size, 'size', 1, mostAtOnce)];
    try {
      return toBuffer(await this.calls.add(kernelCallAsync(this.#args(), () => native.fdRead(fd, count, true))));
    } catch (error) {
      return noneForNow(error);
    }
  }

  /** {@link read}, waiting. */
  readSync(size: number = chunk): Buffer {
    const count = integer(size, 'size', 1, mostAtOnce);
    try {
      return toBuffer(kernelCall(this.#args(), () => native.fdRead(this.#handle, count, false)));
    } catch (error) {
      return noneForNow(error);
    }
  }

  /**
   * Writes saved state. Returns how many of the bytes the kernel took.
   *
   * @throws KernelError EFAULT, EINVAL: not what such a device has saved. ENOMEM: more than such a device saves. ENODEV: the
   *   device was reset, or is not 'resuming' any more. EBADF: data of a save.
   */
  async write(data: Uint8Array): Promise<number> {
    const [fd, array] = [this.#handle, toBytes(data, 'data')];
    return this.calls.add(kernelCallAsync(this.#args(), () => native.fdWrite(fd, array, true)));
  }

  /** {@link write}, waiting. */
  writeSync(data: Uint8Array): number {
    const array = toBytes(data, 'data');
    return kernelCall(this.#args(), () => native.fdWrite(this.#handle, array, false));
  }

  /**
   * A stream of the device's state. It ends when all is read and the device is in 'stop-copy'; while it is in 'pre-copy',
   * 'idle' is emitted each time that there is no more for now. The stream owns this object and closes it at its end.
   */
  readable(opts?: StreamOptions): Readable {
    const settings = streamOptions(opts);
    this.check();
    return new SavedState(this, settings);
  }

  /**
   * A stream into the device. It owns this object and closes it when it has finished.
   *
   * @throws Error ERR_CLOSED. The stream's error can be one of {@link write}, or ERR_MIGRATION_STUCK: the driver takes no bytes.
   */
  writable(opts?: StreamOptions): Writable {
    const settings = streamOptions(opts);
    this.check();
    return new ResumedState(this, settings);
  }

  #args() {
    return { device: this.migration.address, direction: this.direction };
  }

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
        // This driver's files do not tell (EPERM): only the device's state does.
      }
    });
  }

  /** Lets those go on that wait for more. @internal */
  wake(): void {
    for (const done of [...this.#waiting]) done();
  }

  /** Closes the file, behind calls that are under way. What the device is to do next is told by its state. */
  override close(): void {
    super.close();
  }
}

function toBuffer({ buffer, byteOffset, length }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, length);
}

/** ENOMSG: the end of what there is before the device stops. Some drivers read nothing instead. */
function noneForNow(error: unknown): Buffer {
  if (error instanceof KernelError && error.code === 'ENOMSG') return Buffer.alloc(0);
  throw error;
}

class SavedState extends Readable {
  readonly #data: MigrationData;

  constructor(data: MigrationData, opts: { signal?: AbortSignal; highWaterMark: number }) {
    super(opts);
    this.#data = data;
  }

  override _read(size: number): void {
    this.#next(size).then(
      (bytes) => {
        if (!this.destroyed) this.push(bytes);
      },
      (error: unknown) => this.destroy(error as Error),
    );
  }

  /** null: that was all. */
  async #next(size: number): Promise<Buffer | null> {
    for (let last = false; ;) {
      const bytes = await this.#data.read(size);
      if (bytes.length > 0) return bytes;
      if (last || this.destroyed) return null;
      const { state } = this.#data.migration;
      if (state === 'pre-copy' || state === 'pre-copy-p2p') {
        const waiting = more(this.#data);
        this.emit('idle');
        await waiting;
      } else {
        last = true; // it stopped, maybe since the read: what it has to add then is there now
      }
    }
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    closeBehind(this.#data, error, done);
  }
}

class ResumedState extends Writable {
  readonly #data: MigrationData;

  constructor(data: MigrationData, opts: { signal?: AbortSignal; highWaterMark: number }) {
    super({ ...opts, decodeStrings: true });
    this.#data = data;
  }

  override _write(bytes: Buffer, _: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#all(bytes).then(
      () => done(),
      (error: unknown) => done(error as Error),
    );
  }

  async #all(bytes: Buffer): Promise<void> {
    for (let at = 0; at < bytes.length && !this.destroyed;) {
      const taken = await this.#data.write(bytes.subarray(at));
      if (taken === 0) throw codedError('ERR_MIGRATION_STUCK', 'the driver takes no more bytes, and does not say why');
      at += taken;
    }
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    closeBehind(this.#data, error, done);
  }
}

/** When the stream says 'close', its fd is closed. */
function closeBehind(data: MigrationData, error: Error | null, done: (error?: Error | null) => void): void {
  data.close();
  void data.calls.idle().then(() => done(error));
}
