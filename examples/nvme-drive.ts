// A minimal driver for NVMe drives: an admin queue, and one pair of queues to read and write blocks.
import { setTimeout as sleep } from 'node:timers/promises';
import {
  DmaMemory,
  NvmeController,
  type Ioas,
  type IoasMapping,
  type MappedRegion,
  type VfioDevice,
} from 'vfio-dmabuf';

const registers = { cc: 0x14, csts: 0x1c, aqa: 0x24, asq: 0x28, acq: 0x30 } as const;
const page = 4096;
const depth = 64; // entries of a queue
/** Pages of the DMA memory: two pairs of queues, a PRP list, and the controller's identify data. */
const pages = {
  adminCommands: 0,
  adminCompletions: 1,
  commands: 2,
  completions: 3,
  list: 4,
  identity: 5,
  all: 6,
} as const;
const patience = 20_000; // milliseconds
const most = 256; // blocks of a command

/** Command dwords by their numbers; 10 to 15 are specific to the command. */
type Words = Record<number, number>;

/** A submission queue and its completion queue. */
interface Queue {
  id: number;
  commands: number; // its page
  completions: number;
  tail: number;
  head: number;
  phase: number;
}

const queue = (id: number, commands: number, completions: number): Queue => ({
  ...{ id, commands, completions, tail: 0, head: 0, phase: 1 },
});

/** A command in the submission queue. Writing `value` to the queue's doorbell submits it. */
export interface Prepared {
  value: number;
  /** Resolves when the drive has completed the command. */
  done: () => Promise<void>;
}

export class NvmeDrive {
  readonly device: VfioDevice;
  readonly controller: NvmeController;
  blockSize = 512;
  blocks = 0n;
  serial = '';
  readonly #memory: DmaMemory;
  readonly #view: DataView;
  readonly #doorbells: MappedRegion;
  readonly #admin = queue(0, pages.adminCommands, pages.adminCompletions);
  readonly #io = queue(1, pages.commands, pages.completions);
  #mapping?: IoasMapping;
  #closed = false;

  private constructor(device: VfioDevice) {
    this.device = device;
    this.controller = new NvmeController(device);
    this.#doorbells = device.region(0).map(this.controller.doorbells(1));
    this.#memory = DmaMemory.alloc(pages.all * page);
    this.#view = new DataView(this.#memory.buffer);
  }

  /** Initializes a drive that is attached to `ioas`: at the start, and after each reset. */
  static async start(device: VfioDevice, ioas: Ioas): Promise<NvmeDrive> {
    Object.assign(device.command, { memory: true, busMaster: true });
    const drive = new NvmeDrive(device);
    try {
      drive.#mapping = await ioas.mapMemory(drive.#memory);
      await drive.#setUp();
    } catch (error) {
      drive.close();
      throw error;
    }
    return drive;
  }

  async #setUp(): Promise<void> {
    await this.#enable();
    await this.#identify();
    const shape = ((depth - 1) << 16) | 1;
    await this.#run(this.#admin, 0x05, this.#address(pages.completions), 0n, { 10: shape, 11: 1 });
    await this.#run(this.#admin, 0x01, this.#address(pages.commands), 0n, { 10: shape, 11: (1 << 16) | 1 });
  }

  #address(which: number): bigint {
    return (this.#mapping?.iova ?? 0n) + BigInt(which * page);
  }

  async #enable(): Promise<void> {
    const { registers: map } = this.controller;
    map.write32(registers.cc, 0);
    await this.#until(() => (map.read32(registers.csts) & 1) === 0);
    map.write32(registers.aqa, ((depth - 1) << 16) | (depth - 1));
    map.write64(registers.asq, this.#address(pages.adminCommands));
    map.write64(registers.acq, this.#address(pages.adminCompletions));
    map.write32(registers.cc, (4 << 20) | (6 << 16) | 1); // entries of 2^4 and 2^6 bytes, pages of 4096
    await this.#until(() => (map.read32(registers.csts) & 1) === 1);
  }

  async #identify(): Promise<void> {
    const about = (structure: number, namespace: number) =>
      this.#run(this.#admin, 0x06, this.#address(pages.identity), 0n, { 1: namespace, 10: structure });
    const bytes = Buffer.from(this.#memory.buffer, pages.identity * page, page);
    await about(1, 0);
    this.serial = bytes.toString('latin1', 4, 24).trim();
    await about(0, 1);
    const format = (bytes[26] ?? 0) & 15;
    [this.blocks, this.blockSize] = [bytes.readBigUInt64LE(0), 1 << (bytes[128 + 4 * format + 2] ?? 9)];
  }

  /** Puts a command into its queue, without ringing the doorbell. */
  #prepare(to: Queue, opcode: number, prp1: bigint, prp2: bigint, words: Words): Prepared {
    const at = to.commands * page + to.tail * 64;
    const all: Words = { 0: (to.tail << 16) | opcode, 1: 1, ...words };
    for (let i = 0; i < 16; i += 1) this.#view.setUint32(at + 4 * i, all[i] ?? 0, true);
    this.#view.setBigUint64(at + 24, prp1, true);
    this.#view.setBigUint64(at + 32, prp2, true);
    to.tail = (to.tail + 1) % depth;
    return { value: to.tail, done: () => this.#reap(to) };
  }

  async #reap(from: Queue): Promise<void> {
    const at = from.completions * page + from.head * 16 + 12;
    await this.#until(() => ((this.#view.getUint32(at, true) >>> 16) & 1) === from.phase);
    const status = this.#view.getUint32(at, true) >>> 17;
    from.head = (from.head + 1) % depth;
    if (from.head === 0) from.phase ^= 1;
    this.#ring(from, 'completion', from.head);
    if (status !== 0) throw new Error(`the drive's status is 0x${(status & 0x7ff).toString(16)}`);
  }

  #ring({ id }: Queue, kind: 'submission' | 'completion', value: number): void {
    this.#doorbells.write32(Number(this.controller.doorbell(id, kind).offset - this.#doorbells.offset), value);
  }

  async #run(to: Queue, opcode: number, prp1: bigint, prp2: bigint, words: Words): Promise<void> {
    const { value, done } = this.#prepare(to, opcode, prp1, prp2, words);
    this.#ring(to, 'submission', value);
    await done();
  }

  /**
   * Prepares a command that reads or writes up to 256 blocks at `iova`, which must be page-aligned. Only one at a time,
   * as there is one PRP list.
   */
  prepare(what: 'read' | 'write', block: bigint, count: number, iova: bigint): Prepared {
    const size = count * this.blockSize;
    for (let i = 1; i * page < size; i += 1) {
      this.#view.setBigUint64(pages.list * page + 8 * (i - 1), iova + BigInt(i * page), true);
    }
    const second = size > 2 * page ? this.#address(pages.list) : size > page ? iova + BigInt(page) : 0n;
    const [low, high] = [Number(block & 0xffff_ffffn), Number(block >> 32n)];
    return this.#prepare(this.#io, what === 'read' ? 2 : 1, iova, second, { 10: low, 11: high, 12: count - 1 });
  }

  async #move(what: 'read' | 'write', block: bigint, count: number, iova: bigint): Promise<void> {
    for (let moved = 0; moved < count; moved += most) {
      const at = BigInt(moved);
      const part = Math.min(most, count - moved);
      const { value, done } = this.prepare(what, block + at, part, iova + at * BigInt(this.blockSize));
      this.#ring(this.#io, 'submission', value);
      await done();
    }
  }

  /** Reads blocks of the drive to `iova`, which maps memory or a peer's BAR. */
  async read(block: bigint, count: number, iova: bigint): Promise<void> {
    await this.#move('read', block, count, iova);
  }

  /** Writes from `iova` to blocks of the drive. */
  async write(block: bigint, count: number, iova: bigint): Promise<void> {
    await this.#move('write', block, count, iova);
  }

  async #until(condition: () => boolean): Promise<void> {
    const deadline = Date.now() + patience;
    while (!condition()) {
      await sleep(1);
      if (this.#closed) throw new Error('the drive was taken out of service');
      if (Date.now() > deadline) throw new Error('the drive does not answer');
    }
  }

  /**
   * Ends pending waits, and closes the driver's objects. The drive must not access its queues afterwards: reset or
   * close the device first.
   */
  close(): void {
    this.#closed = true;
    this.#doorbells.close();
    this.controller.close();
    this.#mapping?.close();
    this.#memory.close();
  }
}
