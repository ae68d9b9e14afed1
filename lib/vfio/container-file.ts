// A container's file: the groups in it, its IOMMU, and how it is closed.
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

/** What a container can be asked for, by the kernel's names. */
export type ContainerExtension = keyof typeof extensions;

/** The interfaces that a container's IOMMU can have. 'TYPE1' also lets the middle of mappings be named in unmaps. */
export type IommuType = keyof typeof iommuTypes;

/** What every container has, whatever is mapped there. */
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
  protected constructor(kernel: Kernel, handle: FdHandle) {
    super(ContainerFile.#end);
    this.kernel = kernel;
    this.#handle = handle;
  }

  /** The file descriptor, to hand on. It stays this object's: do not close it. */
  get fd(): number {
    return native.fdNumber(this.handle);
  }

  /** @internal */
  get handle(): FdHandle {
    this.check();
    return this.#handle;
  }

  /** The IOMMU's interface that this object has chosen, as long as a group is in the container. */
  get iommu(): IommuType | undefined {
    return this.#iommu;
  }

  /** The interface's version: 0 (VFIO_GET_API_VERSION). */
  apiVersion(): number {
    return kernelCall({}, () => native.containerApiVersion(this.handle));
  }

  /** Whether the kernel has an interface or an extension (VFIO_CHECK_EXTENSION); some show only once the IOMMU is set. */
  checkExtension(extension: ContainerExtension): boolean {
    const number = extensions[oneOf(extension, 'extension', Object.keys(extensions) as ContainerExtension[])];
    return kernelCall({ extension }, () => native.containerExtension(this.handle, number)) > 0;
  }

  /**
   * Chooses the interface of the IOMMU, once a group is in the container (VFIO_SET_IOMMU). {@link VfioDevice.open} does that by
   * itself.
   *
   * @throws KernelError EINVAL: no group is in it, or it is chosen already. ENODEV: this kernel does not have it. EPERM:
   *   interrupts are not isolated.
   */
  async setIommu(type: IommuType = 'TYPE1v2'): Promise<void> {
    const [handle, number] = [this.handle, toIommuType(type)];
    await this.callLater({ type }, () => native.containerSetIommu(handle, number, true));
    this.check();
    this.#iommu = type;
  }

  /** {@link setIommu}, waiting. */
  setIommuSync(type: IommuType = 'TYPE1v2'): void {
    const number = toIommuType(type);
    this.call({ type }, () => native.containerSetIommu(this.handle, number, false));
    this.#iommu = type;
  }

  /** A call on it, whose error has its mappings to look at. @internal */
  protected call<T>(args: KernelErrorArguments, call: () => T): T {
    return kernelCall(args, call, { container: this });
  }

  /** @internal */
  protected callLater<T>(args: KernelErrorArguments, call: () => Promise<T>): Promise<T> {
    return this.calls.add(kernelCallAsync(args, call, { container: this }));
  }

  /** Has an IOMMU. @internal */
  async ready(): Promise<void> {
    if (this.#iommu !== undefined) return;
    try {
      await this.setIommu();
    } catch (error) {
      this.#unlessChosen(error);
    }
  }

  /** The same, waiting. @internal */
  readySync(): void {
    if (this.#iommu !== undefined) return;
    try {
      this.setIommuSync();
    } catch (error) {
      this.#unlessChosen(error);
    }
  }

  /** Another call has chosen it meanwhile. */
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
   * What the IOMMU can do (VFIO_IOMMU_GET_INFO).
   *
   * @throws KernelError EINVAL: no IOMMU is set.
   */
  info(): ContainerInfo {
    return toContainerInfo(this.call({}, () => native.containerInfo(this.handle)));
  }

  /** Notes a group that is in here, to close it before the container. @internal */
  adopt(group: Child): void {
    this.#groups.add(group);
  }

  /** @internal */
  forget(group: Child): void {
    this.#groups.delete(group);
    if (this.#groups.size > 0) return;
    this.#iommu = undefined; // the kernel takes it away with the last group
    this.unmapped();
  }

  /** What was mapped here and not unmapped. */
  abstract get mappings(): DmaMapping[];

  /** All that is mapped is gone: with the IOMMU, or with this. @internal */
  protected abstract unmapped(): void;

  /** Unmaps what must not be mapped any more when the devices are closed. Returns what went wrong. @internal */
  protected abstract unmapRegions(): unknown[];

  /**
   * Closes the groups in here with their devices, and with them all that is mapped. If one of them cannot be closed, the rest is
   * closed all the same, and its error is thrown at the end. Calls that are under way on pool threads are finished;
   * `[Symbol.asyncDispose]()` waits for them, also afterwards.
   */
  override close(): void {
    super.close();
  }

  /**
   * close() on pool threads, for `await using`: the kernel resets devices and unpins memory. Waits for calls that are under
   * way. From the start on every method throws ERR_CLOSED.
   */
  [Symbol.asyncDispose](): Promise<void> {
    return this.life.closeLater();
  }
}

function toIommuType(type: IommuType): number {
  return iommuTypes[oneOf(type, 'type', Object.keys(iommuTypes) as IommuType[])];
}
