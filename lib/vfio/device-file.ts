// A VFIO device's open file: what every part of a device calls the kernel through.
import { native, type FdHandle, type VfioHandle, type WordOf } from '../addon/native';
import { tellWatchers } from '../dmabuf/exported';
import type { Around } from '../errors/around';
import { kernelCall, kernelCallAsync } from '../errors/errors';
import type { Kernel } from '../kernel/kernel';
import { attempt } from '../kernel/look';
import type { Child, Lifetime } from '../lifetime/lifetime';
import type { GroupUse } from './group-set';

/** A device's file, as it came from its character device or its group. @internal */
export interface Opened {
  fd: FdHandle;
  use?: GroupUse;
}

/** The device of a file that was just opened. When that fails, nothing stays open. @internal */
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
  /** The PCI address, or a mediated device's UUID, if sysfs tells it. */
  readonly address: string | undefined;
  /** The group that it was opened through. */
  readonly use: GroupUse | undefined;
  /** The handle, also while the device is being closed. */
  readonly lastHandle: VfioHandle;
  /** Native code has let go of it: calls that are under way are the last. */
  released = false;
  /** How many PASIDs of the device are attached: a fact for hints. */
  pasids = 0;
  /** Called when the device may have changed. */
  whenChanged: (() => void) | undefined;
  readonly #life: Lifetime;
  readonly #fd: FdHandle;
  readonly #children = new Set<Child>();
  readonly #word: WordOf;
  /** The device's word as it was when the watchers were told last. */
  #told: number;

  /** @param life the device's */
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

  /** What an error of any call tells. */
  args(): { device: string | undefined } {
    return { device: this.address };
  }

  /** Where an error's cause is looked for. */
  around(): Around {
    const isBound = () => attempt(() => native.vfioInfo(this.handle)) !== undefined;
    return { kernel: this.kernel, isBound, pasids: this.pasids };
  }

  /** Notes a call that is under way on a pool thread: what closes the device waits for it. Returns it. */
  track<T>(call: Promise<T>): Promise<T> {
    return this.#life.calls.add(call);
  }

  /** A call after which what was exported may be revoked, or may be mapped again. */
  async changing(call: (device: VfioHandle) => Promise<void>): Promise<void> {
    const { handle } = this;
    try {
      await this.track(kernelCallAsync(this.args(), () => call(handle)));
    } finally {
      this.changed();
    }
  }

  /** The same, waiting. */
  changingSync(call: (device: VfioHandle) => void): void {
    const { handle } = this;
    try {
      kernelCall(this.args(), () => call(handle));
    } finally {
      this.changed();
    }
  }

  /** Tells the watchers of mappings if the device has changed. */
  changed(): void {
    const word = this.#word();
    if (word !== this.#told) {
      this.#told = word;
      tellWatchers(this.kernel);
    }
    this.whenChanged?.();
  }

  /** Notes what is to be closed before the device. */
  adopt(child: Child): void {
    this.#children.add(child);
  }

  forget(child: Child): void {
    this.#children.delete(child);
  }

  closeChildren(): void {
    for (const child of [...this.#children]) child.close();
  }

  /** Gives the device back to the kernel, with the last fd on it. */
  release(): void {
    this.released = true;
    native.vfioClose(this.lastHandle, false);
    native.fdClose(this.#fd, false);
  }

  async releaseLater(): Promise<void> {
    this.released = true;
    native.fdClose(this.#fd, false); // the device has a share of it
    const closed = native.vfioClose(this.lastHandle, true);
    this.changed();
    await closed;
  }
}
