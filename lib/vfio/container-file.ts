// ContainerFile: a container's file, its groups and its IOMMU, and how it is closed.
import { type Key, onlyInside } from '../errors/key';
import { kernelCall, kernelCallAsync, KernelError, type KernelErrorArguments } from '../errors/errors';
import type { Kernel } from '../kernel/kernel';
import { Closable } from '../lifetime/closable';
import type { Child, End } from '../lifetime/lifetime';
import { native, type FdHandle } from '../addon/native';
import { oneOf } from '../errors/validate';
import { toContainerInfo, type ContainerInfo } from './container-info';
import type { DmaMapping } from './dma-mapping';

// linux/vfio.h
const extensions = {
  TYPE1_IOMMU: 1,
  TYPE1v2_IOMMU: 3,
  DMA_CC_IOMMU: 4,
  NOIOMMU_IOMMU: 8,
  UNMAP_ALL: 9,
  UPDATE_VADDR: 10,
} as const;
const iommuTypes = { TYPE1: 1, TYPE1v2: 3 } as const;

/** The extensions that can be checked, by their names in the kernel. */
export type ContainerExtension = keyof typeof extensions;

/** The interfaces of a container's IOMMU. With 'TYPE1', an unmap may also start or end within a mapping. */
export type IommuType = keyof typeof iommuTypes;

/** The base class of containers: everything except the mappings. */
export abstract class ContainerFile extends Closable {
  readonly kernel: Kernel;
  readonly #handle: FdHandle;
  readonly #groups = new Set<Child>();
  #iommu: IommuType | undefined;

  static readonly #end: End<ContainerFile> = {
    what: 'VFIO container',
    first: (container) => container.unmapRegions(),
    children: (container) => container.#groups,
    close: (container) => {
      container.unmapped();
      native.fdClose(container.#handle, false);
    },
    closeLater: async (container) => {
      container.unmapped();
      await native.fdClose(container.#handle, true);
    },
  };

  /** @internal */
  protected constructor(made: Key, kernel: Kernel, handle: FdHandle) {
    onlyInside(made, 'VfioContainer', 'use VfioContainer.open()');
    super(ContainerFile.#end);
    this.kernel = kernel;
    this.#handle = handle;
  }

  /** The file descriptor's number, for passing it on. This object owns it: do not close it. */
  get fd(): number {
    return native.fdNumber(this.handle);
  }

  /** @internal */
  get handle(): FdHandle {
    this.check();
    return this.#handle;
  }

  /** The IOMMU interface that this object has set. Undefined when no group is in the container. */
  get iommu(): IommuType | undefined {
    return this.#iommu;
  }

  /** Returns the version of the interface, which is 0 (VFIO_GET_API_VERSION). */
  apiVersion(): number {
    return kernelCall({}, () => native.containerApiVersion(this.handle));
  }

  /**
   * Whether the kernel supports an interface or an extension (VFIO_CHECK_EXTENSION). Some are reported only after the
   * IOMMU is set.
   */
  checkExtension(extension: ContainerExtension): boolean {
    const number = extensions[oneOf(extension, 'extension', Object.keys(extensions) as ContainerExtension[])];
    return kernelCall({ extension }, () => native.containerExtension(this.handle, number)) > 0;
  }

  /**
   * Sets the interface of the IOMMU (VFIO_SET_IOMMU). A group must be in the container. {@link VfioDevice.open} calls
   * this itself.
   *
   * @throws KernelError EINVAL: no group is in the container, or the interface is set already. ENODEV: the kernel does
   *   not support it. EPERM: interrupts are not isolated.
   */
  async setIommu(type: IommuType = 'TYPE1v2'): Promise<void> {
    const [handle, number] = [this.handle, toIommuType(type)];
    await this.callLater({ type }, () => native.containerSetIommu(handle, number, true));
    this.check();
    this.#iommu = type;
  }

  /** Synchronous version of {@link setIommu}. */
  setIommuSync(type: IommuType = 'TYPE1v2'): void {
    const number = toIommuType(type);
    this.call({ type }, () => native.containerSetIommu(this.handle, number, false));
    this.#iommu = type;
  }

  /** Makes a kernel call. If it fails, the error hints take the container's mappings into account. @internal */
  protected call<T>(args: KernelErrorArguments, call: () => T): T {
    return kernelCall(args, call, { container: this });
  }

  /** @internal */
  protected callLater<T>(args: KernelErrorArguments, call: () => Promise<T>): Promise<T> {
    return this.calls.add(kernelCallAsync(args, call, { container: this }));
  }

  /** Sets the IOMMU interface if it is not set. @internal */
  async ready(): Promise<void> {
    if (this.#iommu !== undefined) return;
    try {
      await this.setIommu();
    } catch (error) {
      this.#unlessChosen(error);
    }
  }

  /** Synchronous version of {@link ready}. @internal */
  readySync(): void {
    if (this.#iommu !== undefined) return;
    try {
      this.setIommuSync();
    } catch (error) {
      this.#unlessChosen(error);
    }
  }

  /** Ignores the error if another call has set the interface in the meantime. */
  #unlessChosen(error: unknown): void {
    if (!(error instanceof KernelError && error.code === 'EINVAL' && this.#hasIommu())) throw error;
    this.#iommu ??= 'TYPE1v2';
  }

  #hasIommu(): boolean {
    try {
      this.info();
      return true;
    } catch {
      return false;
    }
  }

  /**
   * Returns the properties of the IOMMU (VFIO_IOMMU_GET_INFO).
   *
   * @throws KernelError EINVAL: no IOMMU is set.
   */
  info(): ContainerInfo {
    return toContainerInfo(this.call({}, () => native.containerInfo(this.handle)));
  }

  /** Registers a group that is in this container. It is closed before the container. @internal */
  adopt(group: Child): void {
    this.#groups.add(group);
  }

  /** @internal */
  forget(group: Child): void {
    this.#groups.delete(group);
    if (this.#groups.size > 0) return;
    this.#iommu = undefined; // the kernel removes the IOMMU with the last group
    this.unmapped();
  }

  /** The mappings that were made by this object and not unmapped. */
  abstract get mappings(): DmaMapping[];

  /** Called when the kernel has unmapped everything, because the IOMMU or the container is gone. @internal */
  protected abstract unmapped(): void;

  /** Closes the mappings that must not outlive the devices. Returns the errors. @internal */
  protected abstract unmapRegions(): unknown[];

  /**
   * Closes the groups in the container and their devices. This also unmaps everything. If closing one of them fails,
   * the rest is closed anyway, and the first error is thrown at the end. Calls that are running on other threads finish.
   * `[Symbol.asyncDispose]()` waits for them, also after close().
   */
  override close(): void {
    super.close();
  }

  /**
   * close() on other threads, for `await using`: the kernel resets devices and unpins memory. Waits for running calls.
   * From the start, every method throws ERR_CLOSED.
   */
  [Symbol.asyncDispose](): Promise<void> {
    return this.life.closeLater();
  }
}

function toIommuType(type: IommuType): number {
  return iommuTypes[oneOf(type, 'type', Object.keys(iommuTypes) as IommuType[])];
}
