// What an NVMe controller answers to a driver's commands: its data structures, features, logs and status codes. The
// fields that differ from QEMU's drive are in nvme-differences.ts, with a reason for each.
import assert from 'node:assert/strict';
import { fieldsOf, healthLog, identifyController, identifyNamespace, nonZero, type Field } from './nvme-fields';
import { differences, statuses } from './nvme-differences';
import { NvmeQueues, pages, type Command, type Completion } from './nvme-queues';
import { conforms, except, observe } from './record';
import { useRig } from './rig';

const every = 0xffff_ffff;
const page = 4096;
const opcodes = {
  deleteSubmission: 0x00,
  createSubmission: 0x01,
  getLog: 0x02,
  deleteCompletion: 0x04,
  createCompletion: 0x05,
  identify: 0x06,
  abort: 0x08,
  setFeatures: 0x09,
  getFeatures: 0x0a,
  eventRequest: 0x0c,
  manageNamespace: 0x0d,
  attachNamespace: 0x15,
  shadowDoorbells: 0x7c,
  format: 0x80,
} as const;
const io = { flush: 0, write: 1, read: 2, compare: 5, writeZeroes: 8, datasetManagement: 9, verify: 0xc, copy: 0x19 };

describe('NVMe commands', () => {
  const rig = useRig('ssd', 'disk', 'physical');
  const start = async (role: 'ssd' | 'disk' | 'physical' = 'ssd') => {
    const device = rig.device(role);
    await device.attach(rig.ioas);
    const queues = rig.keep(new NvmeQueues(device));
    rig.keep({ close: () => device.resetSync() }); // the controller has IOVAs that others will reuse
    await queues.start(rig.ioas);
    return queues;
  };
  const shown = ({ status, doNotRetry, result }: Completion) =>
    `${status.toString(16)}${doNotRetry ? ' DNR' : ''} ${result.toString(16)}`;
  const identify = async (queues: NvmeQueues, structure: number, namespace = 0, set = 0) => {
    queues.data.fill(0);
    const answer = await queues.admin({ opcode: opcodes.identify, namespace, words: { 10: structure, 11: set << 24 } });
    return { answer, bytes: Buffer.from(queues.data.subarray(0, page)) };
  };
  const feature = (queues: NvmeQueues, id: number, select = 0, namespace = 0, word = 0) =>
    queues.admin({ opcode: opcodes.getFeatures, namespace, words: { 10: id | (select << 8), 11: word } });
  const setFeature = (queues: NvmeQueues, id: number, word: number, namespace = 0, save = 0) =>
    queues.admin({ opcode: opcodes.setFeatures, namespace, words: { 10: id | (save << 31), 11: word } });
  const log = async (queues: NvmeQueues, id: number, dwords: number, offset = 0, namespace = every) => {
    queues.data.fill(0xee);
    const words = { 10: id | ((dwords - 1) << 16), 12: offset };
    const answer = await queues.admin({ opcode: opcodes.getLog, namespace, words });
    return { answer, bytes: Buffer.from(queues.data.subarray(0, 4 * dwords)) };
  };
  /** Records the fields that must be equal. Returns all. */
  const compare = (structure: string, bytes: Buffer, fields: readonly Field[]) => {
    const values = fieldsOf(bytes, fields);
    const excepted = differences.filter((each) => each.structure === structure).map(({ field }) => field);
    for (const field of excepted) {
      assert(field in values, `${structure} has no field ${field}`);
      except(`${structure}: ${field}`, values[field]);
    }
    observe(Object.fromEntries(Object.entries(values).filter(([name]) => !excepted.includes(name))));
    return values;
  };
  const all = async <T>(list: readonly T[], run: (each: T) => Promise<unknown>) => {
    const seen: Record<string, unknown> = {};
    for (const each of list) seen[String(each)] = await run(each);
    return observe(seen);
  };

  for (const role of ['ssd', 'disk', 'physical'] as const) {
    conforms(`Identify, of ${role}`, async () => {
      const queues = await start(role);
      const { bytes } = await identify(queues, 1);
      const { SN } = compare('Identify Controller', bytes, identifyController);
      assert.match(String(SN), /./);
      compare('Identify Namespace', (await identify(queues, 0, 1)).bytes, identifyNamespace);
      const structures = [...Array(0x20).keys(), 0x20, 0xff].filter((each) => each !== 1);
      for (const namespace of [0, 1, 2, 256, 257, every - 1, every]) {
        await all(structures, async (structure) => {
          const { answer, bytes } = await identify(queues, structure, namespace);
          return [shown(answer), nonZero(bytes)];
        });
      }
      for (const set of [1, 2, 3]) {
        await all([5, 6, 7, 0x1a, 0x1b], async (structure) => {
          const { answer, bytes } = await identify(queues, structure, 1, set);
          return [shown(answer), nonZero(bytes)];
        });
      }
    });
  }

  // The timestamp differs with time. Linux's own driver may have set 0Bh and 16h.
  const features = [...Array(0x22).keys(), 0x78, 0x80, 0xff].filter((id) => ![0x0e, 0x16].includes(id));
  conforms('Get Features, with each select', async () => {
    for (const role of ['ssd', 'physical'] as const) {
      const queues = await start(role);
      await setFeature(queues, 0x0b, 0x100);
      for (const select of role === 'ssd' ? [0, 1, 2, 3, 4] : [0, 1]) {
        for (const namespace of select === 0 ? [0, 1, 2, every] : [0, 1]) {
          await all(features, async (id) => shown(await feature(queues, id, select, namespace)));
        }
      }
      await all([0, 1, 64, 65, 0x10001, 0x1ffff], async (word) => shown(await feature(queues, 9, 0, 0, word)));
      await all([0, 1, 2, 3, 0x10], async (bits) => shown(await feature(queues, 4, 0, 0, bits << 16)));
    }
  });

  conforms('Set Features', async () => {
    const queues = await start();
    for (const [namespace, save] of [
      [0, 0],
      [1, 0],
      [2, 0],
      [257, 0],
      [every, 0],
      [0, 1],
      [1, 1],
    ] as const) {
      await all(
        features.filter((id) => id !== 4),
        async (id) => shown(await setFeature(queues, id, 1, namespace, save)),
      );
    }
    await all(features, async (id) => shown(await feature(queues, id, 0, 1)));
    await all([0, 0x10001, 0xffff, 0xffff0000, 0xfffefffe], async (word) => shown(await setFeature(queues, 7, word)));
    for (const value of [0, 1]) {
      observe(shown(await setFeature(queues, 6, value)));
      observe(shown(await feature(queues, 6)));
    }
    observe(shown(await setFeature(queues, 5, 0)));
    observe(shown(await setFeature(queues, 5, 0, every)));
    observe(shown(await setFeature(queues, 0x19, 3)));
    await queues.createQueues();
    observe(shown(await setFeature(queues, 7, 0x10001)));
    queues.data.writeBigUInt64LE(0x1234_5678_9abcn);
    observe(shown(await setFeature(queues, 0x0e, 0)));
    const now = await feature(queues, 0x0e);
    observe([shown(now), queues.data.readUInt16LE(6)]);
    assert(queues.data.readUIntLE(0, 6) - 0x1234_5678_9abc < 60_000);
  });

  conforms('logs, whole and in parts', async () => {
    const queues = await start();
    await all([0, 1, 3, 4, 5, 6, 7, 0x0d, 0x70, 0x80, 0xff], async (id) => {
      const { answer, bytes } = await log(queues, id, 1024);
      return [shown(answer), bytes.toString('hex').replace(/(?:ee)+$/, '')];
    });
    for (const id of [1, 2, 3, 4, 5]) {
      await all([3, 4, 60, 64, 508, 512, 4092, 4096, 65536], async (offset) => {
        const { answer, bytes } = await log(queues, id, 8, offset);
        return id === 2 ? shown(answer) : [shown(answer), bytes.toString('hex')];
      });
    }
    for (const namespace of [0, 1, 2, 257, every]) observe(shown((await log(queues, 2, 128, 0, namespace)).answer));
    const upper = { 10: 3 | (0xffff << 16), 11: 1 };
    for (const words of [upper, { ...upper, 11: 2 }, { 10: 3, 13: 1 }]) {
      observe(shown(await queues.admin({ opcode: opcodes.getLog, namespace: every, words })));
    }
  });

  conforms('the health log counts', async () => {
    const queues = await start();
    await queues.createQueues();
    const counts = (bytes: Buffer) => [48, 64, 80].map((at) => bytes.readBigUInt64LE(at));
    const before = counts((await log(queues, 2, 128)).bytes);
    for (const opcode of [io.write, io.read, io.read, io.compare]) {
      observe(shown(await queues.io({ opcode, namespace: 1, words: { 12: 7 } })));
    }
    const { bytes } = await log(queues, 2, 128);
    observe(counts(bytes).map((count, i) => count - (before[i] ?? 0n)));
    compare('SMART / Health Information', bytes, healthLog);
  });

  conforms('queues that cannot be', async () => {
    for (const role of ['ssd', 'physical'] as const) {
      const queues = await start(role);
      const at = queues.address(pages.data + 4);
      const size = 7 << 16;
      const give = async (opcode: number, word10: number, word11 = 1, prp = at) =>
        observe(shown(await queues.admin({ opcode, prp: [prp, 0n], words: { 10: word10, 11: word11 } })));
      const { createCompletion, createSubmission, deleteCompletion, deleteSubmission } = opcodes;
      for (const id of [0, 3, 64, 65, 0xffff]) await give(createCompletion, id | (2048 << 16));
      for (const entries of [1, 2049, 2048]) await give(createCompletion, 1 | ((entries - 1) << 16));
      await give(createCompletion, 1 | size);
      await give(createCompletion, 2 | size, 0);
      for (const vector of [1, 64, 65, 0xffff]) await give(createCompletion, 2 | size, 3 | (vector << 16));
      await give(createCompletion, 2 | size, 1, at + 8n);
      for (const completion of [0, 2, 9, 0xffff]) await give(createSubmission, 1 | size, 1 | (completion << 16));
      for (const id of [0, 65, 0xffff]) await give(createSubmission, id | size, 0x10001);
      for (const entries of [1, 2049]) await give(createSubmission, 1 | ((entries - 1) << 16), 0x10001);
      await give(createSubmission, 1 | size, 0x10000);
      await give(createSubmission, 1 | size, 0x10001, at + 8n);
      for (let i = 0; i < 2; i += 1) await give(createSubmission, 1 | size, 0x10007);
      for (const id of [0, 1, 9, 66]) await give(deleteCompletion, id);
      for (const id of [0, 9, 66, 1, 1]) await give(deleteSubmission, id);
      for (let i = 0; i < 2; i += 1) await give(deleteCompletion, 1);
    }
  });

  conforms('admin commands that cannot be', async () => {
    const queues = await start();
    const known: number[] = Object.values(opcodes);
    const others = [...Array(256).keys()].filter((opcode) => !known.includes(opcode) && opcode !== 0x1c);
    await all(others, async (opcode) => shown(await queues.admin({ opcode })));
    const give = async (command: Command) => observe(shown(await queues.admin(command)));
    for (const flags of [1, 2, 0x40, 0x80, 0xc0]) await give({ opcode: opcodes.identify, flags, words: { 10: 1 } });
    const data = queues.address(pages.data);
    for (const prp of [
      [data + 4n, data + 4100n],
      [data + 3n, data + 4096n],
    ] as const) {
      await give({ opcode: opcodes.identify, prp: [...prp], words: { 10: 1 } });
    }
    for (const queue of [0, 1, 65, 0xffff]) await give({ opcode: opcodes.abort, words: { 10: queue } });
    for (const select of [0, 1, 2]) {
      for (const namespace of [0, 1, every]) {
        const words = { 10: select };
        await give({ opcode: opcodes.manageNamespace, namespace, words });
        await give({ opcode: opcodes.attachNamespace, namespace, words });
      }
    }
  });

  conforms('asynchronous events: four requests, and the temperature', async () => {
    const queues = await start();
    await setFeature(queues, 0x0b, 2);
    const requests = Array.from({ length: 5 }, () => queues.submit({ opcode: opcodes.eventRequest }));
    observe(shown(await queues.completion(requests[4] ?? 0)));
    observe(shown(await setFeature(queues, 4, 0x100)));
    observe(shown(await queues.completion(requests[3] ?? 0)));
    observe(shown(await setFeature(queues, 4, 0x101))); // masked, until the log is read
    observe(requests.slice(0, 3).map((request) => queues.isCompleted(request)));
    observe((await log(queues, 2, 128)).bytes[0]);
    observe(shown(await queues.completion(requests[2] ?? 0)));
    for (const threshold of [0x157, 0x100 | (1 << 20), 0x200 | (1 << 20), 1 << 20, 2 << 20, 1 << 16]) {
      observe(shown(await setFeature(queues, 4, threshold)));
    }
    observe(requests.slice(0, 2).map((request) => queues.isCompleted(request)));
    await log(queues, 2, 128);
    await setFeature(queues, 0x0b, 0x100);
  });

  conforms('commands on blocks', async () => {
    const queues = await start();
    await queues.createQueues();
    const give = async (command: Command) => shown(await queues.io({ namespace: 1, ...command }));
    const known = Object.values(io);
    await all(
      [...Array(256).keys()].filter((each) => !known.includes(each)),
      async (opcode) => give({ opcode }),
    );
    for (const opcode of known) {
      const at = (first: bigint, count: number) => ({
        ...{ 10: Number(first & 0xffff_ffffn), 11: Number(first >> 32n), 12: count - 1 },
      });
      for (const namespace of [0, 2, 257, every]) observe(await give({ opcode, namespace }));
      for (const flags of [1, 2]) observe(await give({ opcode, flags }));
      if (opcode === io.copy || opcode === io.datasetManagement) continue;
      for (const words of [
        at(131_072n, 1),
        at(131_071n, 2),
        at(0xffff_ffff_ffff_ffffn, 2),
        at(0n, 1025),
        at(0n, 65_536),
      ]) {
        observe(await give({ opcode, words }));
      }
    }
    queues.data.fill(0x5a);
    for (const opcode of [io.write, io.compare, io.verify, io.writeZeroes, io.compare, io.read]) {
      observe(await give({ opcode, words: { 12: 7 } }));
    }
    assert(queues.data.subarray(0, page).every((byte) => byte === 0));
  });

  conforms('Dataset Management and Copy', async () => {
    const queues = await start();
    await queues.createQueues();
    const give = async (command: Command) => observe(shown(await queues.io({ namespace: 1, ...command })));
    for (const [first, blocks] of [
      [8n, 8],
      [131_072n, 8],
      [0n, every],
    ] as const) {
      queues.data.fill(0);
      queues.data.writeUInt32LE(blocks, 4);
      queues.data.writeBigUInt64LE(first, 8);
      for (const attributes of [4, 1]) await give({ opcode: io.datasetManagement, words: { 11: attributes } });
    }
    queues.data.fill(0);
    queues.data.writeUInt16LE(7, 16);
    for (const word of [0, 1 << 8, 1, 127, 255]) await give({ opcode: io.copy, words: { 10: 200, 12: word } });
  });

  conforms('scatter-gather lists', async () => {
    const queues = await start();
    await queues.createQueues();
    const [list, data] = [queues.address(pages.data + 2), queues.address(pages.data)];
    const length = (bytes: number, type: number) => BigInt(bytes) | (BigInt(type) << 56n);
    const put = (...descriptors: [address: bigint, bytes: number, type: number][]) => {
      for (const [i, [address, bytes, type]] of descriptors.entries()) {
        queues.data.writeBigUInt64LE(address, 2 * page + 16 * i);
        queues.data.writeBigUInt64LE(length(bytes, type), 2 * page + 16 * i + 8);
      }
    };
    const give = async (opcode: number, pointer: [bigint, bigint], flags = 0x40) =>
      observe(shown(await queues.io({ opcode, namespace: 1, flags, prp: pointer, words: { 12: 7 } })));
    queues.data.fill(0x5a, 0, 2 * page);
    await give(io.write, [data, length(page, 0)]);
    await give(io.write, [data, length(page, 0)], 0x80);
    await give(io.write, [data, length(page, 0)], 0xc0);
    queues.data.fill(0, 0, 2 * page);
    put([data, 100, 0], [data + 1000n, page - 100, 0]);
    await give(io.read, [list, length(32, 0x30)]);
    observe(nonZero(queues.data.subarray(0, 2 * page)));
    put([data, 96, 0], [0n, 1000, 0x10], [data + 200n, page - 1096, 0]);
    await give(io.read, [list, length(48, 0x30)]);
    for (const [bytes, type] of [
      [page - 1, 0],
      [16, 0x30],
      [0, 0x30],
      [17, 0x30],
      [page, 0x40],
      [page, 0xf0],
    ] as const) {
      await give(io.read, [type === 0 ? data : list, length(bytes, type)]);
    }
  });

  conforms('Format', async () => {
    const queues = await start('disk');
    const give = async (namespace: number, word: number) =>
      observe(shown(await queues.admin({ opcode: opcodes.format, namespace, words: { 10: word } })));
    for (const namespace of [0, 2, 257]) await give(namespace, 0);
    for (const format of [1, 2, 3, 4, 5, 6, 7, 8, 15]) {
      await give(1, format);
      compare('Identify Namespace', (await identify(queues, 0, 1)).bytes, identifyNamespace);
      observe(nonZero((await identify(queues, 6)).bytes));
    }
    await give(1, 4);
    await queues.createQueues();
    queues.data.fill(0x77);
    observe(shown(await queues.io({ opcode: io.write, namespace: 1 })));
    await give(every, 0);
    observe(shown(await queues.io({ opcode: io.read, namespace: 1, words: { 12: 7 } })));
    assert(queues.data.subarray(0, page).every((byte) => byte === 0));
  });

  conforms('statuses that differ from those of QEMU', async () => {
    const queues = await start('disk');
    const give = async (command: Command) => shown(await queues.admin(command));
    const seen = [
      await give({ opcode: opcodes.identify, prp: [0x70_0000_0000n, 0n], words: { 10: 1 } }),
      await give({ opcode: opcodes.format, namespace: 1, words: { 10: 1 | (1 << 5) } }),
      await give({ opcode: 0x1c, words: { 10: 1 } }),
    ];
    await give({ opcode: opcodes.format, namespace: 1 });
    const names = differences.filter(({ structure }) => structure === statuses).map(({ field }) => field);
    assert.equal(names.length, seen.length);
    for (const [i, name] of names.entries()) except(`${statuses}: ${name}`, seen[i]);
  });

  conforms('shadow doorbells', async () => {
    const queues = await start();
    const [shadows, events] = [queues.address(pages.data + 6), queues.address(pages.data + 7)];
    const words = { 10: 1 };
    for (const prp of [
      [shadows + 4n, events],
      [shadows, events + 4n],
      [shadows, events],
    ] as [bigint, bigint][]) {
      observe(shown(await queues.admin({ opcode: opcodes.shadowDoorbells, prp })));
    }
    observe(shown(await queues.admin({ opcode: opcodes.identify, words })));
    observe(queues.data.readUInt32LE(6 * page)); // the admin queue's tail, which the drive keeps for the driver
  });

  conforms('registers', async () => {
    const queues = await start();
    const { registers } = queues.controller;
    const [cc, csts] = [0x14, 0x1c];
    const values = () => [0x00, 0x04, 0x08, 0x0c, 0x10, cc, csts, 0x20].map((at) => registers.read32(at).toString(16));
    for (const [at, value] of [
      [0, 1],
      [8, 1],
      [0x0c, 0xf0],
      [0x10, 0x30],
      [csts, 0xffff],
      [0x20, 0x4e564d65],
    ] as const) {
      registers.write32(at, value);
      observe(values());
    }
    registers.write32(cc, registers.read32(cc) | (1 << 14));
    await queues.until(() => (registers.read32(csts) & 0xc) === 8);
    observe(values());
    registers.write32(cc, 0);
    await queues.until(() => (registers.read32(csts) & 1) === 0);
    observe(values());
    for (const value of [0x460071, 0x460061, 0x460011, 0x460281, 0x450001, 0x360001, 1, 0x460801, 0x464001]) {
      await queues.enable(value);
      observe(values());
    }
    const [aqa, asq] = [registers.read32(0x24), registers.read64(0x28)];
    for (const [sizes, address] of [
      [0, asq],
      [0x1f, asq],
      [aqa, asq + 4n],
      [aqa, 0n],
    ] as const) {
      registers.write32(cc, 0);
      await queues.until(() => registers.read32(csts) === 0);
      registers.write32(0x24, sizes);
      registers.write64(0x28, address);
      registers.write32(cc, 0x460001);
      await queues.until(() => registers.read32(csts) !== 0);
      observe([...values(), registers.read64(0x28) === address]);
    }
  });
});
