// DeviceFile: a VFIO device's open file, which all parts of a device use for kernel calls.
import { native, type FdHandle, type VfioHandle, type WordOf } from '../addon/native';
import { tellWatchers } from '../dmabuf/exported';
import type { Around } from '../errors/around';
import { kernelCall, kernelCallAsync } from '../errors/errors';
import type { Kernel } from '../kernel/kernel';
import { attempt } from '../kernel/look';
import type { Child, Lifetime } from '../lifetime/lifetime';
import type { GroupUse } from './group-set';

/** A device's open file, from its character device or its group. @internal */
export interface Opened {
  fd: FdHandle;
  use?: GroupUse;
}

/** Creates the native device for an open file. If this fails, the file is closed. @internal */
export function toHandle({ fd, use }: Opened, address: string | undefined): VfioHandle {
  try {
    return kernelCall({}, () => native.vfioDevice(fd, address ?? ''));
  } catch (error) {
    native.fdClose(fd, false);
    use?.release();
    throw error;
  }
}

/** @internal */
export class DeviceFile {
  readonly kernel: Kernel;
  /** The PCI address, or a mediated device's UUID, if sysfs provides it. */
  readonly address: string | undefined;
  /** The group that the device was opened through. */
  readonly use: GroupUse | undefined;
  /** The handle. Also valid while the device is being closed. */
  readonly lastHandle: VfioHandle;
  /** Whether the native device was closed. Running calls are the last ones. */
  released = false;
  /** The number of the device's attached PASIDs, for error hints. */
  pasids = 0;
  /** Called when the state of the device may have changed. */
  whenChanged: (() => void) | undefined;
  readonly #life: Lifetime;
  readonly #fd: FdHandle;
  readonly #children = new Set<Child>();
  readonly #word: WordOf;
  /** The device's state word when the watchers were last notified. */
  #told: number;

  /** @param life the device's lifetime */
  constructor(life: Lifetime, kernel: Kernel, { fd, use }: Opened, handle: VfioHandle, address?: string) {
    this.#life = life;
    this.kernel = kernel;
    this.address = address;
    this.use = use;
    this.#fd = fd;
    this.lastHandle = handle;
    this.#word = native.vfioWord(handle);
    this.#told = this.#word();
  }

  get fd(): number {
    this.#life.check();
    return native.fdNumber(this.#fd);
  }

  /** @throws Error ERR_CLOSED */
  check(): void {
    this.#life.check();
  }

  get closed(): boolean {
    return this.#life.closed;
  }

  get handle(): VfioHandle {
    this.#life.check();
    return this.lastHandle;
  }

  /** Arguments that are added to the error of every call. */
  args(): { device: string | undefined } {
    return { device: this.address };
  }

  /** The context for error hints. */
  around(): Around {
    const isBound = () => attempt(() => native.vfioInfo(this.handle)) !== undefined;
    return { kernel: this.kernel, isBound, pasids: this.pasids };
  }

  /** Registers a call that is running on another thread, and returns it. Closing the device waits for it. */
  track<T>(call: Promise<T>): Promise<T> {
    return this.#life.calls.add(call);
  }

  /** Makes a call that may revoke exported dma-bufs or make them mappable again. */
  async changing(call: (device: VfioHandle) => Promise<void>): Promise<void> {
    const { handle } = this;
    try {
      await this.track(kernelCallAsync(this.args(), () => call(handle)));
    } finally {
      this.changed();
    }
  }

  /** Synchronous version of {@link changing}. */
  changingSync(call: (device: VfioHandle) => void): void {
    const { handle } = this;
    try {
      kernelCall(this.args(), () => call(handle));
    } finally {
      this.changed();
    }
  }

  /** Notifies the watchers of mappings if the device's state word has changed. */
  changed(): void {
    const word = this.#word();
    if (word !== this.#told) {
      this.#told = word;
      tellWatchers(this.kernel);
    }
    this.whenChanged?.();
  }

  /** Registers an object that is closed before the device. */
  adopt(child: Child): void {
    this.#children.add(child);
  }

  forget(child: Child): void {
    this.#children.delete(child);
  }

  closeChildren(): void {
    for (const child of [...this.#children]) child.close();
  }

  /** Closes the device's fds. With the last fd, the kernel releases the device. */
  release(): void {
    this.released = true;
    native.vfioClose(this.lastHandle, false);
    native.fdClose(this.#fd, false);
  }

  async releaseLater(): Promise<void> {
    this.released = true;
    native.fdClose(this.#fd, false); // the native device has its own reference
    const closed = native.vfioClose(this.lastHandle, true);
    this.changed();
    await closed;
  }
}
