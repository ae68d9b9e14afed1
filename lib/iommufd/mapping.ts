import { DmaBuf } from '../dmabuf/dma-buf';
import { codedError, closedError } from '../errors';
import { instance } from '../validate';
import type { Ioas, Placed } from './ioas';

/**
 * 'live': DMA reaches the memory. 'revoked': the exporting device took its memory back, every DMA through the mapping
 * faults, and only {@link IoasMapping.remap} brings it back. 'closed': unmapped.
 */
export type MappingState = 'live' | 'revoked' | 'closed';

/** A range of an IOAS that leads to memory. It stays until it or its IOAS is closed, whether or not this is kept. */
export class IoasMapping {
  readonly ioas: Ioas;
  readonly iova: bigint;
  /** In bytes. */
  readonly length: bigint;
  #dmaBuf: DmaBuf | undefined;
  readonly #placed: Placed;
  #state: MappingState = 'live';
  /** False after a remap that failed: the IOVAs are free, and no longer kept for this mapping. */
  #occupied = true;

  /** @internal */
  constructor(ioas: Ioas, placed: Placed, dmaBuf?: DmaBuf) {
    this.ioas = ioas;
    this.iova = placed.iova;
    this.length = placed.length;
    this.#placed = placed;
    this.#dmaBuf = dmaBuf;
    dmaBuf?.record.mappings.add(this);
  }

  /**
   * As far as this process can know: it sees what its own objects do to a device (reset, command register, close), not
   * what another process does to it.
   */
  get state(): MappingState {
    return this.#state;
  }

  /** Called when the exporter revokes. @internal */
  revoke(): void {
    if (this.#state === 'live') this.#state = 'revoked';
  }

  /** Called when the kernel has unmapped it. @internal */
  gone(): void {
    this.#state = 'closed';
    this.ioas.forget(this);
    this.#dmaBuf?.record.mappings.delete(this);
    this.#dmaBuf?.record.forget();
  }

  /**
   * Maps the dma-buf again at the same IOVA: what a revoked mapping needs. The device must decode memory again.
   *
   * @param dmaBuf another dma-buf to put in its place, if the first one is closed or dead; at least as long
   * @throws KernelError ENODEV: still revoked; the mapping stays 'revoked' and remap() can be tried again.
   *   Error ERR_NOT_REMAPPABLE: a mapping of host memory, which nobody revokes. Error ERR_CLOSED.
   */
  remap(dmaBuf?: DmaBuf): void {
    if (this.#state === 'closed') throw closedError('mapping');
    if (!this.#dmaBuf) throw codedError('ERR_NOT_REMAPPABLE', 'only mappings of dma-bufs can be mapped again');
    const next = dmaBuf === undefined ? this.#dmaBuf : instance(dmaBuf, 'dmaBuf', DmaBuf);
    if (next.closed) throw closedError('dma-buf'); // before anything is undone
    if (this.#occupied) this.ioas.unplace(this.#placed);
    this.#occupied = false;
    this.#state = 'revoked';
    this.ioas.place(this.#placed, next);
    this.#occupied = true;
    this.#dmaBuf.record.mappings.delete(this);
    this.#dmaBuf.record.forget();
    this.#dmaBuf = next;
    next.record.mappings.add(this);
    this.#state = 'live';
  }

  /** Unmaps. */
  close(): void {
    if (this.#state === 'closed') return;
    if (this.#occupied) this.ioas.unplace(this.#placed);
    this.gone();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
