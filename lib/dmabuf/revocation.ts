// Which mappings a device's revocation kills. The kernel tells nobody; so every mapping made from a dma-buf in this
// process is written down here, under the buffer's inode, whichever DmaBuf object it was made through.
import type { Kernel } from '../kernel';

/** A mapping that a revocation can kill. @internal */
export interface Revocable {
  revoke(): void;
}

/** What this process knows of one dma-buf. @internal */
export class BufferRecord {
  readonly inode: bigint;
  /** The ranges it was exported with, if this process exported it: how many there are decides who can import it. */
  ranges: number | undefined;
  readonly mappings = new Set<Revocable>();
  readonly #kernel: Kernel;
  #exports: Set<BufferRecord> | undefined;
  #handles = 0;

  private constructor(kernel: Kernel, inode: bigint) {
    this.#kernel = kernel;
    this.inode = inode;
  }

  /** The record for `inode`; each call is one more handle on it, until release(). */
  static acquire(kernel: Kernel, inode: bigint): BufferRecord {
    let record = kernel.buffers.get(inode);
    if (!record) kernel.buffers.set(inode, (record = new BufferRecord(kernel, inode)));
    record.#handles += 1;
    return record;
  }

  /** Notes that the device whose exports these are made the buffer, of so many ranges. */
  exportedBy(exports: Set<BufferRecord>, ranges: number): void {
    this.#exports = exports.add(this);
    this.ranges = ranges;
  }

  release(): void {
    this.#handles -= 1;
    this.forget();
  }

  /** Drops the record when nothing is left that it could be needed for. */
  forget(): void {
    if (this.#handles > 0 || this.mappings.size > 0) return;
    this.#kernel.buffers.delete(this.inode);
    this.#exports?.delete(this);
  }

  revoke(): void {
    for (const mapping of this.mappings) mapping.revoke();
  }
}
