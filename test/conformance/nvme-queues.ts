// A driver for the queues of an NVMe controller that submits any command, good or bad, and returns its status.
import { setTimeout as sleep } from 'node:timers/promises';
import { DmaMemory, NvmeController, type Ioas, type MappedRegion, type VfioDevice } from '../../lib';

const registers = { cc: 0x14, csts: 0x1c, aqa: 0x24, asq: 0x28, acq: 0x30 } as const;
const page = 4096;
const depth = 64; // entries of a queue
const patience = 20_000; // milliseconds

/** The pages of the DMA memory, from the first to the last. */
export const pages = { adminCommands: 0, adminCompletions: 1, commands: 2, completions: 3, data: 4, all: 12 } as const;

/** A command. The dwords 10 to 15 depend on the opcode. */
export interface Command {
  opcode: number;
  namespace?: number;
  /** Bits 8 to 15 of the first dword: fused operation and kind of data pointer. */
  flags?: number;
  /** Where its data is. Default: the first data page, and the one after it. */
  prp?: [first: bigint, second: bigint];
  /** Further dwords, by number. */
  words?: Partial<Record<number, number>>;
}

export interface Completion {
  /** Status code and its type (SC and SCT). */
  status: number;
  /** Whether the controller forbids another attempt (DNR), or has more about the error in its log (M). */
  doNotRetry: boolean;
  more: boolean;
  result: number;
  command: number;
}

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

/** The admin queues, and one pair of I/O queues. */
export class NvmeQueues {
  readonly controller: NvmeController;
  readonly bytes: Buffer;
  readonly #memory: DmaMemory;
  readonly #doorbells: MappedRegion;
  #admin = queue(0, pages.adminCommands, pages.adminCompletions);
  #io = queue(1, pages.commands, pages.completions);
  #start = 0n;
  #next = 0;
  /** Completions of commands that nobody waits for. */
  readonly #early = new Map<number, Completion>();

  constructor(device: VfioDevice) {
    Object.assign(device.command, { memory: true, busMaster: true });
    this.controller = new NvmeController(device);
    this.#doorbells = device.region(0).map(this.controller.doorbells(1));
    this.#memory = DmaMemory.alloc(pages.all * page);
    this.bytes = Buffer.from(this.#memory.buffer);
  }

  /** Maps the memory and enables the controller. */
  async start(ioas: Ioas): Promise<void> {
    this.#start = (await ioas.mapMemory(this.#memory)).iova;
    await this.enable();
  }

  async enable(configuration = (4 << 20) | (6 << 16) | 1): Promise<void> {
    const { registers: map } = this.controller;
    map.write32(registers.cc, 0);
    await this.until(() => (map.read32(registers.csts) & 1) === 0);
    this.bytes.fill(0);
    this.#admin = queue(0, pages.adminCommands, pages.adminCompletions);
    this.#io = queue(1, pages.commands, pages.completions);
    this.#early.clear();
    map.write32(registers.aqa, ((depth - 1) << 16) | (depth - 1));
    map.write64(registers.asq, this.address(pages.adminCommands));
    map.write64(registers.acq, this.address(pages.adminCompletions));
    map.write32(registers.cc, configuration);
    await this.until(() => (map.read32(registers.csts) & 3) !== 0);
  }

  /** Creates the pair of I/O queues. */
  async createQueues(): Promise<void> {
    const shape = ((depth - 1) << 16) | 1;
    for (const [opcode, where, flags] of [
      [0x05, pages.completions, 1],
      [0x01, pages.commands, (1 << 16) | 1],
    ] as const) {
      const { status } = await this.admin({ opcode, prp: [this.address(where), 0n], words: { 10: shape, 11: flags } });
      if (status !== 0) throw new Error(`queue creation fails with status 0x${status.toString(16)}`);
    }
  }

  address(which: number): bigint {
    return this.#start + BigInt(which * page);
  }

  /** The data pages. */
  get data(): Buffer {
    return this.bytes.subarray(pages.data * page);
  }

  async admin(command: Command): Promise<Completion> {
    return this.completion(this.submit(command));
  }

  async io(command: Command): Promise<Completion> {
    return this.completion(this.submit(command, this.#io), this.#io);
  }

  /** Submits a command to the admin queue. Returns its number. */
  submit({ opcode, namespace = 0, flags = 0, prp, words = {} }: Command, to = this.#admin): number {
    const start = to.commands * page + to.tail * 64;
    const number = this.#next;
    this.#next = (this.#next + 1) & 0xfff;
    for (let i = 0; i < 16; i += 1) this.bytes.writeUInt32LE((words[i] ?? 0) >>> 0, start + 4 * i);
    this.bytes.writeUInt32LE(((number << 16) | (flags << 8) | opcode) >>> 0, start);
    this.bytes.writeUInt32LE(namespace >>> 0, start + 4);
    const [first, second] = prp ?? [this.address(pages.data), this.address(pages.data + 1)];
    this.bytes.writeBigUInt64LE(first, start + 24);
    this.bytes.writeBigUInt64LE(second, start + 32);
    to.tail = (to.tail + 1) % depth;
    this.#ring(to, 'submission', to.tail);
    return number;
  }

  /** Waits for a command to be completed. */
  async completion(number: number, from = this.#admin): Promise<Completion> {
    await this.until(() => {
      this.#reap(from);
      return this.#early.has(number);
    });
    const found = this.#early.get(number);
    this.#early.delete(number);
    if (!found) throw new Error('no completion');
    return found;
  }

  /** Whether an admin command is completed. */
  isCompleted(number: number): boolean {
    this.#reap(this.#admin);
    return this.#early.has(number);
  }

  #reap(from: Queue): void {
    for (;;) {
      const at = from.completions * page + from.head * 16;
      // The phase first: a Buffer is read byte by byte, while the controller writes.
      if (((this.bytes[at + 14] ?? 0) & 1) !== from.phase) return;
      const last = this.bytes.readUInt32LE(at + 12);
      this.#early.set(last & 0xffff, {
        status: (last >>> 17) & 0x7ff,
        doNotRetry: last >>> 31 === 1,
        more: ((last >>> 30) & 1) === 1,
        result: this.bytes.readUInt32LE(at),
        command: last & 0xffff,
      });
      from.head = (from.head + 1) % depth;
      if (from.head === 0) from.phase ^= 1;
      this.#ring(from, 'completion', from.head);
    }
  }

  #ring({ id }: Queue, kind: 'submission' | 'completion', value: number): void {
    this.#doorbells.write32(Number(this.controller.doorbell(id, kind).offset - this.#doorbells.offset), value);
  }

  async until(condition: () => boolean): Promise<void> {
    const deadline = Date.now() + patience;
    while (!condition()) {
      await sleep(1);
      if (Date.now() > deadline) throw new Error('the controller does not answer');
    }
  }

  /** Closes what the constructor opened. Reset the device first: the controller may still access the memory. */
  close(): void {
    this.#doorbells.close();
    this.controller.close();
    this.#memory.close();
  }
}
