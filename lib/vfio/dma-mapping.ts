// DmaMapping: a mapping in a VFIO container.
import { shown } from '../addon/shown';
import { type Key, onlyInside } from '../errors/key';
import { Closable } from '../lifetime/closable';
import type { End } from '../lifetime/lifetime';
import type { Parents } from '../lifetime/parents';
import { codedError } from '../errors/errors';
import { native, type FdHandle, type MappingHandle } from '../addon/native';
import type { Region } from './region';

/** The memory of a mapping in a container. @internal */
export interface DmaSource {
  /** The offset of the first byte in the memory or the region. */
  offset: bigint;
  length: bigint;
  /** The mapped region. Undefined: host memory. */
  region: Region | undefined;
  /** The memory's file: a reference that the mapping owns. */
  memory: FdHandle | undefined;
  /** The mapping of the memory or the region in this process. */
  pages: MappingHandle;
}

/**
 * A range of a container's I/O address space that is mapped to memory. The mapping exists until it or its container is
 * closed or the last group leaves the container, even if this object is garbage collected.
 */
export class DmaMapping extends Closable {
  readonly container: Parents['ContainerSpace'];
  readonly iova: bigint;
  /** The length in bytes. */
  readonly length: bigint;
  /** The mapped region. Undefined: host memory. */
  readonly region: Region | undefined;
  readonly #source: DmaSource;
  #pages: MappingHandle;
  #addressValid = true;

  static readonly #end: End<DmaMapping> = {
    ...{ what: 'mapping', canFail: true, kept: true },
    // Closing a container unmaps all its mappings.
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

  static {
    shown(this, 'closed', 'iova', 'length', 'addressValid', ['region', ({ region }) => region?.index]);
  }

  /** @internal */
  constructor(made: Key, container: Parents['ContainerSpace'], iova: bigint, source: DmaSource) {
    onlyInside(made, 'DmaMapping', 'use VfioContainer#mapMemory() or VfioContainer#mapRegion()');
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
   * Gives the kernel a new process address of the memory after {@link VfioContainer.invalidateAddresses}
   * (VFIO_IOMMU_MAP_DMA with VFIO_DMA_MAP_FLAG_VADDR). The memory is mapped into this process again. Pages stay pinned.
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

  /** Unmaps the memory (VFIO_IOMMU_UNMAP_DMA). */
  override close(): void {
    super.close();
  }

  /** Unmaps on another thread, for `await using`: unpinning much host memory takes time. */
  async [Symbol.asyncDispose](): Promise<void> {
    // The mapping of a region must not outlive the device. If unmapping it fails, this object stays open.
    if (this.region) this.close();
    else await this.life.closeLater();
  }
}
