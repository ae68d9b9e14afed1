// The fake's NVMe drive under commands that no driver gives: it answers with a status, and always comes to an end.
import assert from 'node:assert/strict';
import { DmaMemory, Iommufd, VfioDevice, type MappedRegion } from '../../lib';
import { FakeKernel } from '../../lib/fake';

const page = 4096;
const at = { admin: 0x10_0000n, adminDone: 0x10_1000n, io: 0x10_2000n, ioDone: 0x10_3000n, data: 0x10_4000n };
const [depth, namespaceOne] = [64, 1];

describe("the fake's NVMe drive", () => {
  let kernel: FakeKernel;
  let memory: DmaMemory;
  let view: DataView;
  let bar: MappedRegion;
  let drive: VfioDevice;
  let tails: [number, number];

  const enable = () => {
    bar.write32(0x14, 0);
    bar.write32(0x24, ((depth - 1) << 16) | (depth - 1));
    bar.write64(0x28, at.admin);
    bar.write64(0x30, at.adminDone);
    bar.write32(0x14, (4 << 20) | (6 << 16) | 1);
    tails = [0, 0];
  };
  beforeEach(async () => {
    kernel = new FakeKernel();
    const iommufd = Iommufd.open({ kernel });
    const ioas = iommufd.allocIoas();
    drive = await VfioDevice.open(kernel.addressOf('disk'), { iommufd });
    await drive.attach(ioas);
    Object.assign(drive.command, { memory: true, busMaster: true });
    bar = drive.region(0).map();
    memory = DmaMemory.alloc(64 * page, { kernel });
    view = new DataView(memory.buffer);
    await ioas.mapMemory(memory, { iova: at.admin });
    ioas.mapDmaBuf(drive.exportDmaBuf({ region: 0, offset: 0, length: page }), { iova: 0x80_0000n });
    enable();
  });
  afterEach(() => {
    kernel.close();
  });

  /** Gives one command. Its status; undefined: nothing was completed. */
  const give = (queue: 0 | 1, opcode: number, prp: [bigint, bigint], words: Record<number, number>) => {
    const [base, tail] = [queue === 0 ? 0 : 2 * page, tails[queue]];
    for (let i = 0; i < 16; i += 1) view.setUint32(base + tail * 64 + 4 * i, words[i] ?? 0, true);
    view.setUint32(base + tail * 64, (tail << 16) | opcode, true);
    view.setUint32(base + tail * 64 + 4, words[1] ?? namespaceOne, true);
    for (const i of [0, 1] as const) view.setBigUint64(base + tail * 64 + 24 + 8 * i, prp[i], true);
    const done = base + page + tail * 16 + 12;
    view.setUint32(done, 0, true);
    tails[queue] = (tail + 1) % depth;
    bar.write32(0x1000 + 8 * queue, tails[queue]);
    const entry = view.getUint32(done, true);
    return (entry >>> 16) & 1 ? (entry >>> 17) & 0x7ff : undefined;
  };
  const createQueues = () => {
    const shape = ((depth - 1) << 16) | 1;
    assert.equal(give(0, 5, [at.ioDone, 0n], { 10: shape, 11: 1 }), 0);
    assert.equal(give(0, 1, [at.io, 0n], { 10: shape, 11: (1 << 16) | 1 }), 0);
  };

  it('refuses what the specification forbids', () => {
    createQueues();
    assert.equal(give(0, 0x55, [0n, 0n], {}), 0x01); // no such command
    assert.equal(give(0, 6, [at.data, 0n], { 10: 0x77 }), 0x02);
    assert.equal(give(0, 1, [at.data, 0n], { 10: 0x3f0002, 11: (9 << 16) | 1 }), 0x100); // no such completion queue
    assert.equal(give(0, 1, [at.data, 0n], { 10: 0x3f0001, 11: (1 << 16) | 1 }), 0x101); // it is there already
    assert.equal(give(0, 5, [at.data + 8n, 0n], { 10: 0x3f0002, 11: 1 }), 0x13);
    assert.equal(give(0, 4, [0n, 0n], { 10: 1 }), 0x10c); // a queue that is in use
    assert.equal(give(1, 2, [at.data, 0n], { 1: 7 }), 0x0b);
    assert.equal(give(1, 2, [at.data, 0n], { 12: 0xffff }), 0x02); // more than MDTS
    assert.equal(give(1, 2, [at.data, 0n], { 10: 131_072 }), 0x80);
    assert.equal(give(1, 2, [0xdead_0000n, 0n], {}), 0x04); // nothing is mapped there
    assert.deepEqual(
      kernel.takeFaults().map(({ iova, reason }) => [iova, reason]),
      [[0xdead_0000n, 'unmapped']],
    );
    assert.equal(give(0, 0, [0n, 0n], { 10: 1 }), 0);
    assert.equal(give(0, 4, [0n, 0n], { 10: 1 }), 0);
  });

  it('takes lists of addresses as they are', () => {
    createQueues();
    const list = at.data + BigInt(20 * page);
    const inMemory = Number(list - at.admin);
    for (let i = 0; i < 7; i += 1) view.setBigUint64(inMemory + 8 * i, at.data + BigInt((i + 1) * page), true);
    assert.equal(give(1, 1, [at.data, list], { 12: 63 }), 0);
    for (const offset of [1n, 4n, 4095n]) assert.equal(give(1, 1, [at.data, list + offset], { 12: 63 }), 0x13);
    // One entry on the list's page, which leads to itself.
    const end = list + BigInt(page) - 8n;
    view.setBigUint64(Number(end - at.admin), end, true);
    assert.equal(give(1, 1, [at.data, end], { 12: 63 }), 0x13);
    view.setBigUint64(inMemory, 5n, true);
    assert.equal(give(1, 1, [at.data, list], { 12: 63 }), 0x13);
  });

  it('comes to an end when its own data reconfigures it', () => {
    createQueues();
    // A block that switches the controller off and on again, with queues of two entries, when it is read to the registers.
    const block = new DataView(memory.buffer, Number(at.data - at.admin), 2 * page);
    block.setUint32(page + 0x14, (4 << 20) | (6 << 16) | 1, true);
    for (const base of [0, page]) {
      block.setUint32(base + 0x24, (1 << 16) | 1, true);
      block.setBigUint64(base + 0x28, at.io, true);
      block.setBigUint64(base + 0x30, at.ioDone, true);
    }
    assert.equal(give(1, 1, [at.data, at.data + BigInt(page)], { 12: 15 }), 0);
    for (let i = 0; i < 3; i += 1) give(1, 2, [0x80_0000n, 0x80_0000n], { 12: 15 });
    enable();
    assert.equal(give(0, 6, [at.data, 0n], { 1: 0, 10: 1 }), 0);
  });

  it('may disable itself by where its completions go', () => {
    createQueues();
    const shape = ((depth - 1) << 16) | 2;
    assert.equal(give(0, 5, [0x80_0000n, 0n], { 10: shape, 11: 1 }), 0); // to its own registers: the second is CC
    assert.equal(give(0, 1, [at.data, 0n], { 10: shape, 11: (2 << 16) | 1 }), 0);
    bar.write32(0x1000 + 8 * 2, 5);
    assert.equal(bar.read32(0x1c) & 1, 0);
    enable();
    assert.equal(give(0, 6, [at.data, 0n], { 1: 0, 10: 1 }), 0);
  });

  it('finds queues and data in its own CMB', () => {
    const inside = 0x40_0000_0000n;
    bar.write32(0x54, Number(inside >> 32n));
    bar.write32(0x50, 3);
    createQueues();
    const cmb = drive.region(2);
    cmb.write(0x3000, Buffer.from('from the CMB'));
    assert.equal(give(1, 1, [inside + 0x3000n, 0n], {}), 0);
    assert.equal(give(1, 2, [at.data, 0n], {}), 0);
    assert.equal(Buffer.from(memory.buffer, Number(at.data - at.admin), 12).toString(), 'from the CMB');
    assert.equal(give(1, 2, [inside + 0xff_f000n, inside + 0x100_0000n], { 12: 15 }), 0x04); // behind its end
  });
});
