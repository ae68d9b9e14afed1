// The fake NVMe drive executes commands that no driver would submit. It completes each with a status, and always
// terminates.
import assert from 'node:assert/strict';
import { DmaMemory, Iommufd, VfioDevice, type Ioas, type MappedRegion } from '../../lib';
import { FakeKernel } from '../../lib/fake';

const page = 4096;
const at = { admin: 0x10_0000n, adminDone: 0x10_1000n, io: 0x10_2000n, ioDone: 0x10_3000n, data: 0x10_4000n };
const [depth, namespaceOne] = [64, 1];

/** Submits commands to a drive. The queues are at the start of the memory, at the IOVA `at.admin` plus `base`. */
class Driver {
  readonly bar: MappedRegion;
  readonly #view: DataView;
  #tails: [number, number] = [0, 0];

  constructor(
    readonly device: VfioDevice,
    memory: DmaMemory,
    readonly base = 0n,
  ) {
    this.bar = device.region(0).map();
    this.#view = new DataView(memory.buffer, Number(base));
    this.enable();
  }

  enable(): void {
    this.bar.write32(0x14, 0);
    this.bar.write32(0x24, ((depth - 1) << 16) | (depth - 1));
    this.bar.write64(0x28, at.admin + this.base);
    this.bar.write64(0x30, at.adminDone + this.base);
    this.bar.write32(0x14, (4 << 20) | (6 << 16) | 1);
    this.#tails = [0, 0];
  }

  /** Writes a command into a queue. */
  put(queue: 0 | 1, entry: number, opcode: number, prp: [bigint, bigint], words: Record<number, number>): void {
    const start = (queue === 0 ? 0 : 2 * page) + entry * 64;
    for (let i = 0; i < 16; i += 1) this.#view.setUint32(start + 4 * i, words[i] ?? 0, true);
    this.#view.setUint32(start, (entry << 16) | opcode, true);
    this.#view.setUint32(start + 4, words[1] ?? namespaceOne, true);
    for (const i of [0, 1] as const) this.#view.setBigUint64(start + 24 + 8 * i, prp[i], true);
    this.#view.setUint32(this.#done(queue, entry), 0, true);
  }

  ring(queue: 0 | 1, tail: number): void {
    this.bar.write32(0x1000 + 8 * queue, tail);
  }

  /** Tells the drive that the completions before `head` are read. */
  free(queue: 0 | 1, head: number): void {
    this.bar.write32(0x1004 + 8 * queue, head);
  }

  /** A command's status; undefined: it is not completed. */
  status(queue: 0 | 1, entry: number): number | undefined {
    const word = this.#view.getUint32(this.#done(queue, entry), true);
    return (word >>> 16) & 1 ? (word >>> 17) & 0x7ff : undefined;
  }

  /** Submits one command. Returns its status. */
  give(queue: 0 | 1, opcode: number, prp: [bigint, bigint], words: Record<number, number>): number | undefined {
    const tail = this.#tails[queue];
    this.put(queue, tail, opcode, prp, words);
    this.#tails[queue] = (tail + 1) % depth;
    this.ring(queue, this.#tails[queue]);
    return this.status(queue, tail);
  }

  createQueues(): void {
    const shape = ((depth - 1) << 16) | 1;
    assert.equal(this.give(0, 5, [at.ioDone + this.base, 0n], { 10: shape, 11: 1 }), 0);
    assert.equal(this.give(0, 1, [at.io + this.base, 0n], { 10: shape, 11: (1 << 16) | 1 }), 0);
  }

  #done(queue: 0 | 1, entry: number): number {
    return (queue === 0 ? page : 3 * page) + entry * 16 + 12;
  }
}

describe("the fake's NVMe drive", () => {
  let kernel: FakeKernel;
  let ioas: Ioas;
  let memory: DmaMemory;
  let view: DataView;
  let drive: Driver;

  const open = async (role: string, base?: bigint) => {
    const device = await VfioDevice.open(kernel.addressOf(role), { iommufd: ioas.iommufd });
    await device.attach(ioas);
    Object.assign(device.command, { memory: true, busMaster: true });
    return new Driver(device, memory, base);
  };
  beforeEach(async () => {
    kernel = new FakeKernel();
    ioas = Iommufd.open({ kernel }).allocIoas();
    memory = DmaMemory.alloc(64 * page, { kernel });
    view = new DataView(memory.buffer);
    await ioas.mapMemory(memory, { iova: at.admin });
    drive = await open('disk');
    ioas.mapDmaBuf(drive.device.exportDmaBuf({ region: 0, offset: 0, length: page }), { iova: 0x80_0000n });
  });
  afterEach(() => kernel.close());

  it('refuses what the specification forbids', () => {
    drive.createQueues();
    assert.equal(drive.give(0, 0x55, [0n, 0n], {}), 0x01); // no such command
    assert.equal(drive.give(0, 6, [at.data, 0n], { 10: 0x77 }), 0x02);
    assert.equal(drive.give(0, 1, [at.data, 0n], { 10: 0x3f0002, 11: (9 << 16) | 1 }), 0x100); // no such CQ
    assert.equal(drive.give(0, 1, [at.data, 0n], { 10: 0x3f0001, 11: (1 << 16) | 1 }), 0x101); // already exists
    assert.equal(drive.give(0, 5, [at.data + 8n, 0n], { 10: 0x3f0002, 11: 1 }), 0x13);
    assert.equal(drive.give(0, 4, [0n, 0n], { 10: 1 }), 0x10c); // the queue is in use
    assert.equal(drive.give(1, 2, [at.data, 0n], { 1: 7 }), 0x02); // it could exist, and does not
    assert.equal(drive.give(1, 2, [at.data, 0n], { 1: 257 }), 0x0b);
    assert.equal(drive.give(1, 2, [at.data, 0n], { 12: 0xffff }), 0x02); // more than MDTS
    assert.equal(drive.give(1, 2, [at.data, 0n], { 10: 131_072 }), 0x80);
    assert.equal(drive.give(1, 2, [0xdead_0000n, 0n], {}), 0x04); // not mapped
    assert.deepEqual(
      kernel.takeFaults().map(({ iova, reason }) => [iova, reason]),
      [[0xdead_0000n, 'unmapped']],
    );
    assert.equal(drive.give(0, 0, [0n, 0n], { 10: 1 }), 0);
    assert.equal(drive.give(0, 4, [0n, 0n], { 10: 1 }), 0);
  });

  it('takes lists of addresses as they are', () => {
    drive.createQueues();
    const list = at.data + BigInt(20 * page);
    const inMemory = Number(list - at.admin);
    for (let i = 0; i < 7; i += 1) view.setBigUint64(inMemory + 8 * i, at.data + BigInt((i + 1) * page), true);
    assert.equal(drive.give(1, 1, [at.data, list], { 12: 63 }), 0);
    for (const offset of [1n, 4n, 4095n]) assert.equal(drive.give(1, 1, [at.data, list + offset], { 12: 63 }), 0x13);
    // The list's page has room for one entry, which points to itself.
    const end = list + BigInt(page) - 8n;
    view.setBigUint64(Number(end - at.admin), end, true);
    assert.equal(drive.give(1, 1, [at.data, end], { 12: 63 }), 0x13);
    view.setBigUint64(inMemory, 5n, true);
    assert.equal(drive.give(1, 1, [at.data, list], { 12: 63 }), 0x13);
  });

  it('comes to an end when its own data reconfigures it', () => {
    drive.createQueues();
    // Reading this block into the registers disables and enables the controller again, with queues of two entries.
    const block = new DataView(memory.buffer, Number(at.data - at.admin), 2 * page);
    block.setUint32(page + 0x14, (4 << 20) | (6 << 16) | 1, true);
    for (const base of [0, page]) {
      block.setUint32(base + 0x24, (1 << 16) | 1, true);
      block.setBigUint64(base + 0x28, at.io, true);
      block.setBigUint64(base + 0x30, at.ioDone, true);
    }
    assert.equal(drive.give(1, 1, [at.data, at.data + BigInt(page)], { 12: 15 }), 0);
    for (let i = 0; i < 3; i += 1) drive.give(1, 2, [0x80_0000n, 0x80_0000n], { 12: 15 });
    drive.enable();
    assert.equal(drive.give(0, 6, [at.data, 0n], { 1: 0, 10: 1 }), 0);
  });

  it('may disable itself by where its completions go', () => {
    drive.createQueues();
    const shape = ((depth - 1) << 16) | 2;
    assert.equal(drive.give(0, 5, [0x80_0000n, 0n], { 10: shape, 11: 1 }), 0); // to its own registers: the second is CC
    assert.equal(drive.give(0, 1, [at.data, 0n], { 10: shape, 11: (2 << 16) | 1 }), 0);
    drive.bar.write32(0x1000 + 8 * 2, 5);
    assert.equal(drive.bar.read32(0x1c) & 1, 0);
    drive.enable();
    assert.equal(drive.give(0, 6, [at.data, 0n], { 1: 0, 10: 1 }), 0);
  });

  it('and another that ring each other come to an end', async () => {
    const other = await open('ssd', BigInt(32 * page));
    const doorbells = { of: 0x81_0000n, ofOther: 0x82_0000n };
    const exported = ({ device }: Driver) => device.exportDmaBuf({ region: 0, offset: page, length: page });
    ioas.mapDmaBuf(exported(drive), { iova: doorbells.of });
    ioas.mapDmaBuf(exported(other), { iova: doorbells.ofOther });
    const listOf = (addresses: bigint[], offset: number) => {
      for (const [i, address] of addresses.entries()) view.setBigUint64(offset + 8 * i, address, true);
      return at.admin + BigInt(offset);
    };
    // Stores a block with these tails, one in each page, which the drive reads into the doorbell of the other's queue.
    const store = (driver: Driver, tails: number[]) => {
      const [start, list] = [Number(driver.base) + 4 * page, Number(driver.base) + 8 * page];
      new Uint8Array(memory.buffer, start, tails.length * page).fill(0xff);
      for (const [i, tail] of tails.entries()) view.setUint32(start + i * page + 8, tail, true);
      const pages = tails.map((_, i) => at.admin + BigInt(start + i * page));
      assert.equal(driver.give(1, 1, [pages[0]!, listOf(pages.slice(1), list)], { 12: tails.length * 8 - 1 }), 0);
    };
    drive.createQueues();
    other.createQueues();
    store(drive, [43, 22, 1]);
    store(other, [0]);
    const list = listOf([doorbells.ofOther, doorbells.ofOther], 9 * page);
    for (let i = 0; i < depth; i += 1) {
      other.put(1, i, 2, [doorbells.of, 0n], { 12: 7 });
      drive.put(1, i, 2, [doorbells.ofOther, list], { 12: 23 });
    }
    const done = () =>
      Array.from({ length: depth - 1 }, (_, i) => drive.status(1, i + 1)).filter((status) => status === 0).length;
    // Each of the 63 commands makes the other execute up to 128, which ring the doorbell of the first. The completion
    // queue of the other is full in between, until it is freed.
    drive.free(1, 1); // the completion of its Write
    for (let i = 0; i < 1000 && done() < 63; i += 1) {
      other.free(1, i % depth);
      drive.ring(1, 0);
    }
    assert.equal(done(), 63);
  });

  it('finds queues and data in its own CMB', () => {
    const inside = 0x40_0000_0000n;
    drive.bar.write32(0x54, Number(inside >> 32n));
    drive.bar.write32(0x50, 3);
    drive.createQueues();
    const cmb = drive.device.region(2);
    cmb.write(0x3000, Buffer.from('from the CMB'));
    assert.equal(drive.give(1, 1, [inside + 0x3000n, 0n], {}), 0);
    assert.equal(drive.give(1, 2, [at.data, 0n], {}), 0);
    assert.equal(Buffer.from(memory.buffer, Number(at.data - at.admin), 12).toString(), 'from the CMB');
    assert.equal(drive.give(1, 2, [inside + 0xff_f000n, inside + 0x100_0000n], { 12: 15 }), 0x04); // beyond its end
  });
});
