import { closedError, codedError } from '../errors/errors';
import { native, type FdHandle, type MappingHandle } from '../addon/native';
import type { ContainerSpace } from './container-space';
import type { Region } from './region';

/** What a mapping in a container shows. @internal */
export interface DmaSource {
  /** From here on in the memory or the region, in bytes. */
  offset: bigint;
  length: bigint;
  /** The region, or nothing: host memory. */
  region: Region | undefined;
  /** The memory's file, this mapping's own share. */
  memory: FdHandle | undefined;
  /** The pages, as long as they are mapped. */
  pages: MappingHandle;
}

/**
 * A range of a container's I/O address space that leads to memory. It stays until it, its container or the last group in
 * that is closed, whether or not this is kept.
 */
export class DmaMapping {
  readonly container: ContainerSpace;
  readonly iova: bigint;
  /** In bytes. */
  readonly length: bigint;
  /** The region that is mapped; undefined: host memory. */
  readonly region: Region | undefined;
  readonly #source: DmaSource;
  #pages: MappingHandle;
  #addressValid = true;
  #closed = false;

  /** @internal */
  constructor(container: ContainerSpace, iova: bigint, source: DmaSource) {
    this.container = container;
    this.iova = iova;
    this.length = source.length;
    this.region = source.region;
    this.#source = source;
    this.#pages = source.pages;
    source.region?.device.adopt(this);
  }

  /** Whether it is unmapped. */
  get closed(): boolean {
    return this.#closed;
  }

  /** False between {@link VfioContainer.invalidateAddresses} and {@link renewAddress}. */
  get addressValid(): boolean {
    return this.#addressValid;
  }

  /** @internal */
  invalidated(): void {
    this.#addressValid = false;
  }

  /** Called when the kernel has unmapped it. @internal */
  gone(): void {
    if (this.#closed) return;
    this.#leave();
    this.#release();
  }

  #leave(): void {
    this.#closed = true;
    this.container.drop(this);
    this.region?.device.forget(this);
  }

  #release(): void {
    native.mappingRetire(this.#pages);
    if (this.#source.memory !== undefined) native.fdClose(this.#source.memory, false);
  }

  /**
   * Gives the kernel a new address for the memory, after {@link VfioContainer.invalidateAddresses} (VFIO_IOMMU_MAP_DMA with
   * VFIO_DMA_MAP_FLAG_VADDR): the memory is mapped into this process anew. Pinned pages stay what they are.
   *
   * @throws KernelError EINVAL: the address is valid. Error ERR_NOT_REMAPPABLE: a mapping of a region.
   */
  renewAddress(): void {
    if (this.#closed) throw closedError('mapping');
    const { memory, offset } = this.#source;
    if (memory === undefined) throw codedError('ERR_NOT_REMAPPABLE', 'only mappings of memory can get a new address');
    const pages = this.container.renew(memory, offset, this.length, this.iova);
    native.mappingRetire(this.#pages);
    this.#pages = pages;
    this.#addressValid = true;
  }

  /** Unmaps (VFIO_IOMMU_UNMAP_DMA). */
  close(): void {
    if (this.#closed) return;
    // A container that is being closed takes its mappings along.
    if (!this.container.closed) this.container.unplace(this.iova, this.length);
    this.gone();
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }

  /** Unmaps on a pool thread, for `await using`: unpinning much host memory takes time. */
  async [Symbol.asyncDispose](): Promise<void> {
    // A region must not be mapped any more when its device is closed.
    if (this.region || this.container.closed) this.close();
    if (this.#closed) return;
    this.#leave();
    try {
      await this.container.unplaceLater(this.iova, this.length);
    } finally {
      this.#release();
    }
  }
}
