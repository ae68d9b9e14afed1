// SyncFile wraps a sync file: device fences that can be waited for and merged.
import { data, shown } from '../addon/shown';
import { key, type Key, onlyInside } from '../errors/key';
import { duplicate } from '../kernel/duplicate';
import { toKernel } from '../kernel/default-kernel';
import { closedError, codedError, kernelCall } from '../errors/errors';
import { errnoName } from '../addon/errno';
import type { Kernel } from '../kernel/kernel';
import { Closable } from '../lifetime/closable';
import type { End } from '../lifetime/lifetime';
import { native, type FdHandle } from '../addon/native';
import { pollEvents } from '../events/poll';
import { instance, integer, options, outOfRange, string, u64 } from '../errors/validate';
import { toSignal, Waits, type WaitOptions } from '../events/waits';

// The size limit of a name in linux/sync_file.h, less the final NUL.
const nameLength = 31;

/** The state of a fence. 'failed': its driver signaled it with an error. */
export type FenceState = 'pending' | 'signaled' | 'failed';

/** A fence: a point in a device's work that is signaled once. */
export interface FenceInfo {
  /** The driver's name. New kernels no longer report it and the timeline's name after the fence is signaled. */
  readonly driver: string;
  readonly timeline: string;
  readonly state: FenceState;
  /** The fence's error: 'ETIMEDOUT', …; undefined if it has not failed. */
  readonly error: string | undefined;
  /**
   * The time at which it was signaled, in nanoseconds of CLOCK_MONOTONIC like `process.hrtime.bigint()`; undefined
   * while it is pending.
   */
  readonly timestamp: bigint | undefined;
}

/** Information about a sync file. */
export interface SyncFileInfo {
  /** The name passed to {@link SyncFile.merge}, or one that the kernel chose. */
  readonly name: string;
  /** 'signaled' if all fences are signaled; otherwise the state of the first fence that is not. */
  readonly state: FenceState;
  readonly error: string | undefined;
  readonly fences: readonly FenceInfo[];
}

function stateOf(status: number): { state: FenceState; error: string | undefined } {
  if (status < 0) return { state: 'failed', error: errnoName(-status) };
  return { state: status === 0 ? 'pending' : 'signaled', error: undefined };
}

/**
 * A file that contains fences of devices, which are signaled when the devices have finished their work. It comes from
 * {@link DmaBuf.exportSyncFile}, from a GPU or display driver ({@link SyncFile.fromFd}), or, for tests, from a
 * {@link FenceTimeline}.
 */
export class SyncFile extends Closable {
  readonly kernel: Kernel;
  readonly #handle: FdHandle;
  readonly #waits = new Waits();

  static readonly #end: End<SyncFile> = {
    what: 'sync file',
    close: (file) => {
      file.#waits.reject(() => closedError('sync file'));
      native.fdClose(file.#handle, false);
    },
  };

  static {
    shown(this, 'closed', 'fd');
  }

  /** Takes ownership of the fd. @internal */
  constructor(made: Key, kernel: Kernel, handle: FdHandle) {
    onlyInside(made, 'SyncFile', 'use DmaBuf#exportSyncFile() or SyncFile.fromFd()');
    super(SyncFile.#end);
    this.kernel = kernel;
    this.#handle = handle;
  }

  /**
   * Creates an object for an existing sync file. The fd is duplicated: the caller still owns and closes its own.
   *
   * @throws KernelError EBADF: not an open fd. Error ERR_NOT_SYNC_FILE: the fd is of another kind. ERR_OTHER_KERNEL: it is
   *   of another fake kernel.
   */
  static fromFd(fd: number, opts?: { kernel?: Kernel }): SyncFile {
    const kernel = toKernel(options(opts, ['kernel']).kernel);
    integer(fd, 'fd', 0, 0x7fff_ffff);
    const handle = duplicate(kernel, fd);
    try {
      if (!kernelCall({ fd }, () => native.syncFileIs(handle))) {
        throw codedError('ERR_NOT_SYNC_FILE', `fd ${String(fd)} is not a sync file`);
      }
    } catch (error) {
      native.fdSetForeign(handle);
      native.fdClose(handle, false);
      throw error;
    }
    return new SyncFile(key, kernel, handle);
  }

  /** @internal */
  get handle(): FdHandle {
    this.check();
    return this.#handle;
  }

  /** The file descriptor, for example to send to another process. This object owns it: do not close it. */
  get fd(): number {
    return native.fdNumber(this.handle);
  }

  /**
   * Returns the current state of the file and its fences (SYNC_IOC_FILE_INFO, called once for their number and once for
   * the fences).
   */
  info(): SyncFileInfo {
    const { name, status, fences } = kernelCall({}, () => native.syncFileInfo(this.handle));
    return data({
      name,
      ...stateOf(status),
      fences: fences.map((fence) => ({
        driver: fence.driver,
        timeline: fence.timeline,
        ...stateOf(fence.status),
        timestamp: fence.status === 0 ? undefined : fence.timestamp,
      })),
    });
  }

  /** The combined state of the fences (SYNC_IOC_FILE_INFO): 'signaled' if all are signaled. */
  get state(): FenceState {
    return this.info().state;
  }

  /**
   * Resolves when every fence is signaled or failed (poll); `info()` has each fence's state. It waits in the event loop
   * and keeps the process alive.
   *
   * @throws the signal's reason, when it is aborted. Error ERR_CLOSED: the file was closed while waiting.
   */
  async signaled(opts?: WaitOptions): Promise<void> {
    return this.#waits.until(this.handle, pollEvents.readable, toSignal(opts));
  }

  /**
   * Creates a sync file with the fences of both (SYNC_IOC_MERGE): the latest of each timeline, without those already
   * signaled. Both files stay unchanged. `name` is for debugging, at most 31 bytes of UTF-8. Default: a name that the
   * kernel chooses.
   */
  merge(other: SyncFile, opts?: { name?: string }): SyncFile {
    const name = string(options(opts, ['name']).name ?? '', 'name');
    if (Buffer.byteLength(name) > nameLength) throw outOfRange('name', `at most ${String(nameLength)} bytes`, name);
    const { handle } = instance(other, 'other', SyncFile);
    return new SyncFile(
      key,
      this.kernel,
      kernelCall({}, () => native.syncFileMerge(this.handle, handle, name)),
    );
  }

  /**
   * Sets the deadline of the fences, in nanoseconds of CLOCK_MONOTONIC like `process.hrtime.bigint()`
   * (SYNC_IOC_SET_DEADLINE). It is a hint for the drivers: a GPU may raise its clock frequency.
   *
   * @throws KernelError ENOTTY: a kernel before 6.6.
   */
  setDeadline(deadline: number | bigint): void {
    const time = u64(deadline, 'deadline', 0n, 2n ** 63n - 1n);
    kernelCall({ deadline: time }, () => native.syncFileSetDeadline(this.handle, time));
  }

  /** Closes the fd. The fences are not affected. Promises that wait on this object reject with ERR_CLOSED. */
  override close(): void {
    super.close();
  }
}
