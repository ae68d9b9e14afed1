import { toKernel } from '../default-kernel';
import { closedError, kernelCall } from '../errors';
import type { Kernel } from '../kernel';
import { expectClose, wasClosed } from '../lost';
import { native, type FdHandle } from '../native';
import { integer, options, string } from '../validate';
import { Ioas } from './ioas';

/** Something that must be closed before the iommufd. @internal */
export interface Dependent {
  close(): void;
  [Symbol.asyncDispose](): Promise<void>;
}

/** An open /dev/iommu: the owner of I/O address spaces, to which devices are bound. */
export class Iommufd {
  readonly kernel: Kernel;
  /** Whether the fd is a duplicate: then another object may stand for the same iommufd. @internal */
  readonly duplicated: boolean;
  readonly #handle: FdHandle;
  readonly #devices = new Set<Dependent>();
  readonly #ioases = new Set<Ioas>();
  #closed = false;
  #closing: Promise<unknown> | undefined;

  private constructor(kernel: Kernel, handle: FdHandle, duplicated: boolean) {
    this.kernel = kernel;
    this.duplicated = duplicated;
    this.#handle = handle;
    expectClose(this, 'iommufd');
  }

  /**
   * Opens IOMMUFD.
   *
   * @param opts.path default /dev/iommu
   * @throws KernelError ENOENT: this kernel has no IOMMUFD. EACCES: this user may not open it.
   */
  static open(opts?: { kernel?: Kernel; path?: string }): Iommufd {
    const { kernel: chosen, path: given } = options(opts);
    const kernel = toKernel(chosen);
    const path = given === undefined ? '/dev/iommu' : string(given, 'path');
    return new Iommufd(
      kernel,
      kernelCall({ path }, () => native.fdOpen(kernel.handle, path, false), { kernel }),
      false,
    );
  }

  /** An iommufd that somebody else opened. The fd is duplicated: the caller's own stays open and the caller's. */
  static fromFd(fd: number, opts?: { kernel?: Kernel }): Iommufd {
    const kernel = toKernel(options(opts).kernel);
    integer(fd, 'fd', 0, 0x7fff_ffff);
    return new Iommufd(
      kernel,
      kernelCall({ fd }, () => native.fdDuplicate(kernel.handle, fd)),
      true,
    );
  }

  /** The file descriptor, to hand on. It stays this object's: do not close it. */
  get fd(): number {
    return native.fdNumber(this.handle);
  }

  /** Whether close() was called. */
  get closed(): boolean {
    return this.#closed;
  }

  /** @internal */
  get handle(): FdHandle {
    if (this.#closed) throw closedError('iommufd');
    return this.#handle;
  }

  /** A new, empty I/O address space. */
  allocIoas(): Ioas {
    const ioas = new Ioas(
      this,
      kernelCall({}, () => native.ioasAllocate(this.handle)),
    );
    this.#ioases.add(ioas);
    return ioas;
  }

  /** Notes a device that is bound here. @internal */
  adopt(device: Dependent): void {
    this.#devices.add(device);
  }

  /** @internal */
  forget(child: Dependent | Ioas): void {
    if (child instanceof Ioas) this.#ioases.delete(child);
    else this.#devices.delete(child);
  }

  /**
   * Closes the devices bound here, then the IOASes, then the fd. If one of them cannot be closed, the rest is closed all the
   * same, and its error is thrown at the end: the kernel cleans up with the last fd. That closes behind the calls that are
   * under way on pool threads; `[Symbol.asyncDispose]()` waits for them, also afterwards.
   */
  close(): void {
    if (this.#closed) return;
    const errors: unknown[] = [];
    for (const child of [...this.#devices, ...this.#ioases]) {
      try {
        child.close();
      } catch (error) {
        errors.push(error);
      }
    }
    this.#closed = true;
    wasClosed(this);
    for (const ioas of [...this.#ioases]) ioas.abandon();
    native.fdClose(this.#handle, false);
    // What is left is closed behind calls that are under way.
    this.#closing = Promise.allSettled([...this.#ioases].map((ioas) => ioas[Symbol.asyncDispose]()));
    if (errors.length > 0) throw errors[0];
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /**
   * close() on pool threads, for `await using`: the kernel resets devices and unpins memory. Waits for calls that are under
   * way. From the start on every method throws ERR_CLOSED.
   */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing ??= this.#closeLater().finally(() => {
      this.#closing = Promise.resolve(); // its error was told
    });
    await this.#closing;
  }

  async #closeLater(): Promise<void> {
    this.#closed = true;
    const errors: unknown[] = [];
    for (const child of [...this.#devices, ...this.#ioases]) {
      try {
        await child[Symbol.asyncDispose]();
      } catch (error) {
        errors.push(error);
      }
    }
    wasClosed(this);
    for (const ioas of [...this.#ioases]) ioas.abandon();
    await native.fdClose(this.#handle, true);
    if (errors.length > 0) throw errors[0];
  }
}
