// Which mappings a device's revocation kills. The kernel tells nobody; so what this process knows of each dma-buf is kept
// under the buffer's inode, whichever DmaBuf object it is seen through. A mapping made before the last revocation is dead.
import type { Kernel } from '../kernel';

/** What this process knows of one dma-buf. @internal */
export class BufferRecord {
  /** How often it was revoked. */
  revocations = 0;
  /** How many ranges it was exported with, if this process exported it: that decides who can import it. */
  ranges: number | undefined;
  readonly #kernel: Kernel;
  readonly #inode: bigint;
  #exports: Set<BufferRecord> | undefined;
  #users = 0;

  private constructor(kernel: Kernel, inode: bigint) {
    this.#kernel = kernel;
    this.#inode = inode;
  }

  /** The record for `inode`. Whoever gets it uses it until release(). */
  static acquire(kernel: Kernel, inode: bigint): BufferRecord {
    let record = kernel.buffers.get(inode);
    if (!record) kernel.buffers.set(inode, (record = new BufferRecord(kernel, inode)));
    record.use();
    return record;
  }

  /** One more DmaBuf or mapping needs it. */
  use(): void {
    this.#users += 1;
  }

  /** One less; the last one drops it. */
  release(): void {
    this.#users -= 1;
    if (this.#users > 0) return;
    this.#kernel.buffers.delete(this.#inode);
    this.#exports?.delete(this);
  }

  /** Notes that the device whose exports these are made the buffer, of so many ranges. */
  exportedBy(exports: Set<BufferRecord>, ranges: number): void {
    this.#exports = exports.add(this);
    this.ranges = ranges;
  }

  revoke(): void {
    this.revocations += 1;
  }
}

/** What all objects of one device share: what was exported from it, and how many objects there are. @internal */
export interface OpenDevice {
  exports: Set<BufferRecord>;
  objects: number;
}
