import { DmaBuf } from '../dmabuf/dma-buf';
import { codedError, closedError } from '../errors';
import { instance, outOfRange } from '../validate';
import type { Ioas } from './ioas';

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
  /** Its place in its IOAS's list. @internal */
  index = 0;
  readonly #offset: bigint;
  readonly #access: bigint;
  /** What was mapped, if it is a dma-buf, and how often that had been revoked. */
  #dmaBuf: DmaBuf | undefined;
  #revocations = 0;
  #closed = false;
  /** False after a remap that failed: the IOVAs are free, and no longer kept for this mapping. */
  #occupied = true;

  /** @internal */
  constructor(ioas: Ioas, iova: bigint, offset: bigint, length: bigint, access: bigint, dmaBuf?: DmaBuf) {
    this.ioas = ioas;
    this.iova = iova;
    this.length = length;
    this.#offset = offset;
    this.#access = access;
    if (dmaBuf) this.#show(dmaBuf);
  }

  #show(dmaBuf: DmaBuf): void {
    const { record } = dmaBuf;
    record.use();
    this.#dmaBuf = dmaBuf;
    this.#revocations = record.revocations;
  }

  /**
   * As far as this process can know: it sees what its own objects do to a device (reset, command register, close), not
   * what another process does to it.
   */
  get state(): MappingState {
    if (this.#closed) return 'closed';
    const current = this.#dmaBuf === undefined || this.#dmaBuf.record.revocations === this.#revocations;
    return current && this.#occupied ? 'live' : 'revoked';
  }

  /** Called when the kernel has unmapped it. @internal */
  gone(): void {
    this.#closed = true;
    this.ioas.forget(this);
    this.#dmaBuf?.record.release();
  }

  /**
   * Maps the dma-buf again at the same IOVA: what a revoked mapping needs. The device must decode memory again.
   *
   * @param dmaBuf another dma-buf to put in its place, if the first one is closed or dead; at least as long
   * @throws KernelError ENODEV: still revoked; the mapping stays 'revoked' and remap() can be tried again.
   *   Error ERR_NOT_REMAPPABLE: a mapping of host memory, which nobody revokes. Error ERR_CLOSED. For another buffer,
   *   RangeError: too short. Error ERR_OTHER_KERNEL: of another kernel than the first.
   */
  remap(dmaBuf?: DmaBuf): void {
    const old = this.#dmaBuf;
    if (this.#closed) throw closedError('mapping');
    if (!old) throw codedError('ERR_NOT_REMAPPABLE', 'only mappings of dma-bufs can be mapped again');
    const next = dmaBuf === undefined ? old : instance(dmaBuf, 'dmaBuf', DmaBuf);
    // Before anything is undone:
    if (next.closed) throw closedError('dma-buf');
    if (next.kernel !== old.kernel) throw codedError('ERR_OTHER_KERNEL', 'the dma-buf belongs to another kernel');
    const needed = this.#offset + this.length;
    if (next.size < needed) throw outOfRange('dmaBuf.size', `>= ${String(needed)}`, next.size);
    if (this.#occupied) this.ioas.unplace(this.iova, this.length);
    this.#occupied = false;
    this.ioas.place(next, this.#offset, this.length, this.iova, this.#access);
    this.#occupied = true;
    this.#show(next);
    old.record.release();
  }

  /** Unmaps. */
  close(): void {
    if (this.#closed) return;
    if (this.#occupied) this.ioas.unplace(this.iova, this.length);
    this.gone();
  }

  /** close(), for `using`. */
  [Symbol.dispose](): void {
    this.close();
  }
}
