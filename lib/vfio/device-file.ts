// A VFIO device's open file: its fd, what is under way on it, and how it is closed.
import { Calls } from '../lifetime/calls';
import type { Around } from '../errors/around';
import { attempt } from '../kernel/look';
import { tellWatchers } from '../dmabuf/exported';
import { closedError, kernelCall, kernelCallAsync } from '../errors/errors';
import type { Kernel } from '../kernel/kernel';
import { expectClose, wasClosed } from '../lifetime/lost';
import { native, type FdHandle, type VfioHandle, type WordOf } from '../addon/native';
import { VfioContainer } from './container';
import type { VfioGroup } from './group';
import type { GroupUse } from './group-set';

/** A device's file, as it came from its character device or its group. @internal */
export interface Opened {
  fd: FdHandle;
  use?: GroupUse;
}

/** What is closed before its device. @internal */
export interface DeviceChild {
  close(): void;
}

/** What every VFIO device has, whatever it is used for. Each subject's methods are in a class of their own above this. */
export abstract class DeviceFile {
  readonly kernel: Kernel;
  /** The PCI address, or a mediated device's UUID, if sysfs tells it. */
  readonly address: string | undefined;
  readonly #fd: FdHandle;
  readonly #handle: VfioHandle;
  readonly #calls = new Calls();
  readonly #children = new Set<DeviceChild>();
  readonly #word: WordOf;
  /** The device's word as it was when the watchers were told last. */
  #told: number;
  #closed = false;
  #closing: Promise<void> | undefined;
  /** Native code has let go of it: calls that are under way are the last. */
  #released = false;
  readonly #use: GroupUse | undefined;

  /** @internal */
  protected constructor(kernel: Kernel, { fd, use }: Opened, address: string | undefined) {
    this.kernel = kernel;
    this.address = address;
    this.#fd = fd;
    this.#use = use;
    try {
      this.#handle = kernelCall({}, () => native.vfioDevice(fd, address ?? ''));
    } catch (error) {
      native.fdClose(fd, false);
      use?.release();
      throw error;
    }
    use?.group.adopt(this);
    this.#word = native.vfioWord(this.#handle);
    this.#told = this.#word();
    expectClose(this, 'VFIO device');
  }

  /** The file descriptor, to hand on. It stays this object's: do not close it. */
  get fd(): number {
    if (this.#closed) throw closedError('VFIO device');
    return native.fdNumber(this.#fd);
  }

  /** By which of VFIO's files it was opened: its character device, or its IOMMU group. */
  get through(): 'cdev' | 'group' {
    return this.#use ? 'group' : 'cdev';
  }

  /** The IOMMU group that it was opened through. */
  get group(): VfioGroup | undefined {
    return this.#use?.group;
  }

  /** The container that its DMA goes through. */
  get container(): VfioContainer | undefined {
    const container = this.#use?.group.container;
    return container instanceof VfioContainer ? container : undefined;
  }

  /** Whether close() was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /** @internal */
  get handle(): VfioHandle {
    if (this.#closed) throw closedError('VFIO device');
    return this.#handle;
  }

  /** The handle, also while the device is being closed. @internal */
  protected get lastHandle(): VfioHandle {
    return this.#handle;
  }

  /** Native code has let go of it. @internal */
  protected get released(): boolean {
    return this.#released;
  }

  /** What an error of any call tells. @internal */
  args(): { device: string | undefined } {
    return { device: this.address };
  }

  /** Where an error's cause is looked for. @internal */
  around(): Around {
    return { kernel: this.kernel, isBound: () => attempt(() => native.vfioInfo(this.handle)) !== undefined };
  }

  /** Notes a call that is under way on a pool thread: what closes the device waits for it. Returns it. @internal */
  track<T>(call: Promise<T>): Promise<T> {
    return this.#calls.add(call);
  }

  /** A call after which what was exported may be revoked, or may be mapped again. @internal */
  protected async changing(call: () => Promise<void>): Promise<void> {
    try {
      await this.track(kernelCallAsync(this.args(), call));
    } finally {
      this.changed();
    }
  }

  /** The same, waiting. @internal */
  protected changingSync(call: () => void): void {
    try {
      kernelCall(this.args(), call);
    } finally {
      this.changed();
    }
  }

  /** Tells the watchers of mappings if the device has changed. @internal */
  changed(): void {
    const word = this.#word();
    if (word === this.#told) return;
    this.#told = word;
    tellWatchers(this.kernel);
  }

  /** Notes what is to be closed before the device. @internal */
  adopt(child: DeviceChild): void {
    this.#children.add(child);
  }

  /** @internal */
  forget(child: DeviceChild): void {
    this.#children.delete(child);
  }

  /** Detaches, if it is attached, also while it is being closed. @internal */
  abstract leave(): void;

  /** The same on a pool thread. @internal */
  abstract leaveLater(): Promise<void>;

  /** The kernel has the device back. @internal */
  protected abstract gone(): void;

  /**
   * Closes what was made of it (mapped regions), detaches, and, with the last fd on it, gives the device back: the kernel resets it, and its
   * dma-bufs are dead for good. Calls that are under way on pool threads are finished, and the fd closes behind the last;
   * `[Symbol.asyncDispose]()` waits for them, also afterwards.
   */
  close(): void {
    if (this.#closed) return;
    for (const child of [...this.#children]) child.close();
    try {
      this.leave();
    } finally {
      this.#closed = true;
      this.#released = true;
      wasClosed(this);
      native.vfioClose(this.#handle, false);
      native.fdClose(this.#fd, false);
      this.gone();
      this.#use?.group.forget(this);
      this.changed();
      this.#use?.release();
    }
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /**
   * close() on a pool thread, for `await using`: the reset can take a second. Waits for calls that are under way. From the
   * start on every method throws ERR_CLOSED.
   */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#closed
      ? this.#calls.idle()
      : this.#closeLater().finally(() => {
          this.#closing = Promise.resolve(); // its error was told
        });
    return this.#closing;
  }

  async #closeLater(): Promise<void> {
    for (const child of [...this.#children]) child.close();
    this.#closed = true;
    await this.#calls.idle();
    try {
      await this.leaveLater();
    } finally {
      this.#released = true;
      wasClosed(this);
      native.fdClose(this.#fd, false); // the device has a share of it
      const closed = native.vfioClose(this.#handle, true);
      this.changed();
      await closed;
      this.gone();
      this.#use?.group.forget(this);
      await this.#use?.releaseLater();
    }
  }
}
