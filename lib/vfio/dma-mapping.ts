// A mapping in a VFIO container.
import { Closable } from '../lifetime/closable';
import type { End } from '../lifetime/lifetime';
import type { Parents } from '../lifetime/parents';
import { codedError } from '../errors/errors';
import { native, type FdHandle, type MappingHandle } from '../addon/native';
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
export class DmaMapping extends Closable {
  readonly container: Parents['ContainerSpace'];
  readonly iova: bigint;
  /** In bytes. */
  readonly length: bigint;
  /** The region that is mapped; undefined: host memory. */
  readonly region: Region | undefined;
  readonly #source: DmaSource;
  #pages: MappingHandle;
  #addressValid = true;

  static readonly #end: End<DmaMapping> = {
    ...{ what: 'mapping', canFail: true, kept: true },
    // A container that is being closed takes its mappings along.
    close: ({ container, iova, length }) => {
      if (!container.closed) container.unplace(iova, length);
    },
    closeLater: async ({ container, iova, length }) => {
      if (!container.closed) await container.unplaceLater(iova, length);
    },
    left: (mapping) => {
      mapping.container.drop(mapping);
      mapping.region?.device.file.forget(mapping);
    },
    gone: (mapping) => {
      native.mappingRetire(mapping.#pages);
      if (mapping.#source.memory !== undefined) native.fdClose(mapping.#source.memory, false);
    },
  };

  /** @internal */
  constructor(container: Parents['ContainerSpace'], iova: bigint, source: DmaSource) {
    super(DmaMapping.#end);
    this.container = container;
    this.iova = iova;
    this.length = source.length;
    this.region = source.region;
    this.#source = source;
    this.#pages = source.pages;
    source.region?.device.file.adopt(this);
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
    this.life.abandon();
  }

  /**
   * Gives the kernel a new address for the memory, after {@link VfioContainer.invalidateAddresses} (VFIO_IOMMU_MAP_DMA with
   * VFIO_DMA_MAP_FLAG_VADDR): the memory is mapped into this process anew. Pinned pages stay what they are.
   *
   * @throws KernelError EINVAL: the address is valid. Error ERR_NOT_REMAPPABLE: a mapping of a region.
   */
  renewAddress(): void {
    this.check();
    const { memory, offset } = this.#source;
    if (memory === undefined) throw codedError('ERR_NOT_REMAPPABLE', 'only mappings of memory can get a new address');
    const pages = this.container.renew(memory, offset, this.length, this.iova);
    native.mappingRetire(this.#pages);
    this.#pages = pages;
    this.#addressValid = true;
  }

  /** Unmaps (VFIO_IOMMU_UNMAP_DMA). */
  override close(): void {
    super.close();
  }

  /** Unmaps on a pool thread, for `await using`: unpinning much host memory takes time. */
  async [Symbol.asyncDispose](): Promise<void> {
    // A region must not be mapped any more when its device is closed: if it cannot be unmapped, this stays open.
    if (this.region) this.close();
    else await this.life.closeLater();
  }
}
