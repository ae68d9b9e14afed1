// Cases that must not crash. Each runs in its own process.
import assert from 'node:assert/strict';
import { randomFill } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { deflate, type ZlibOptions } from 'node:zlib';
import { DmaMemory, type MappedRegion } from '../../../lib';
import { FakeKernel } from '../../../lib/fake';
import { loadTypeScript } from '../../typescript';
import { mappedDmaBufCases } from './mapped-dma-buf';
import { ownershipCases } from './ownership';
import { collect, engineId, keepBusy, makeRig, transfer, transferAway } from './rig';

const code = (name: string) => ({ code: name });
const closed = code('ERR_CLOSED');
const off = code('ERR_MEMORY_DISABLED');

function filled(size = 65_536, kernel = new FakeKernel()): DmaMemory {
  const memory = DmaMemory.alloc(size, { kernel });
  new Uint8Array(memory.buffer).fill(7);
  return memory;
}

/** Starts a worker that runs one of the functions below. */
function startWorker(work: keyof typeof works): Worker {
  // The first file of a worker cannot be TypeScript.
  const load = `${loadTypeScript} require(${JSON.stringify(__filename)})`;
  return new Worker(`${load}.works[${JSON.stringify(work)}]()`, { eval: true, stdout: true });
}

function openFds(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Calls every accessor of a mapped region. */
function useAll({ read8, read16, read32, read64, write8, write16, write32, write64, read, write }: MappedRegion) {
  return [
    ...[read8, read16, read32, read64].map((load) => () => load(8)),
    ...[write8, write16, write32, write64].map((store) => () => store(8, 1)),
    () => read(8, new Uint32Array(2)),
    () => write(8, new BigUint64Array(1)),
  ];
}

/** Bytes: more than a thread's other allocations. */
const large = 256 << 20;

/** The functions that workers run. */
export const works = {
  busy: async () => {
    keepBusy(makeRig());
    const { parentPort } = await import('node:worker_threads');
    parentPort!.postMessage('busy');
  },
  // Ends at once, with all objects open and calls under way.
  leave: () => {
    const rig = makeRig();
    const memory = DmaMemory.alloc(65_536, { kernel: rig.kernel });
    new Uint8Array(memory.buffer).fill(1);
    void rig.ioas.mapMemory(memory);
    void rig.ssd.reset();
  },
  exit: () => {
    works.leave();
    process.exit(3);
  },
  keepMemory: () => {
    const memory = DmaMemory.alloc(large, { kernel: new FakeKernel() });
    new Uint8Array(memory.buffer)[0] = 1;
    Object.assign(globalThis, { memory }); // prevents garbage collection
  },
  giveAway: async () => {
    const { parentPort } = await import('node:worker_threads');
    const moved = transferAway(filled().buffer);
    parentPort!.postMessage(moved, moved ? [moved] : []);
  },
};

export const cases: Record<string, () => void | Promise<void>> = {
  ...mappedDmaBufCases,
  ...ownershipCases,

  'a buffer is zeros after close, and so is every view of it': async () => {
    const memory = filled();
    const { buffer } = memory;
    const bytes = new Uint8Array(buffer);
    const words = new BigUint64Array(buffer, 4096, 8);
    const view = new DataView(buffer);
    memory.close();
    assert.throws(() => memory.buffer, closed);
    assert.equal(buffer.byteLength, 65_536);
    assert(bytes.every((byte) => byte === 0));
    assert.equal(words[1], 0n);
    assert.equal(view.getUint8(0), 0);
    assert.equal(Atomics.load(words, 0), 0n);
    words[1] = 1n;
    await collect();
    assert.equal(words[1], 1n);
  },

  'a buffer that was transferred is zeros after close': async () => {
    const sizes = [undefined, 65_536, 100, 1 << 20]; // the size itself, and sizes for which V8 makes a copy
    for (const size of sizes) {
      const memory = filled();
      const moved = transferAway(memory.buffer, size);
      if (!moved) return; // Node 20 lacks transfer()
      assert.equal(new Uint8Array(moved)[0], 7);
      memory.close();
      const bytes = new Uint8Array(moved);
      if (size === undefined || size === 65_536) assert.equal(bytes[0], 0);
      bytes.fill(9);
      await collect();
      assert.equal(bytes[99], 9);
    }
    await collect();
  },

  'a buffer that was cloned away can be read after close': async () => {
    const memory = filled();
    let clone: ArrayBuffer | undefined;
    try {
      clone = structuredClone(memory.buffer, { transfer: [memory.buffer] });
    } catch (error) {
      assert.equal((error as Error).name, 'DataCloneError'); // Node 22 refuses
    }
    memory.close();
    await collect();
    if (clone) assert.ok([0, 7].includes(new Uint8Array(clone)[0]!));
  },

  'memory stays while a view of it is left, and no longer': async () => {
    const kernel = new FakeKernel();
    const before = openFds();
    const keep: Uint8Array[] = [];
    for (let i = 0; i < 300; i += 1) {
      const bytes = new Uint8Array(filled(4096, kernel).buffer);
      if (i % 100 === 0) keep.push(bytes);
      if (i % 50 === 0) await collect();
    }
    await collect();
    for (const bytes of keep) assert.equal(bytes[4095], 7);
    assert.ok(openFds() < before + 100, `${openFds() - before} more files are open`);
  },

  'memory can be closed while Node’s own threads work on it': async () => {
    const memory = DmaMemory.alloc(1 << 25, { kernel: new FakeKernel() });
    const bytes = Buffer.from(memory.buffer);
    bytes.write('something to do');
    // A chunk size for the whole output: Node's zlib crashes in a second step if the buffer is detached.
    const compress = () => promisify<Buffer, ZlibOptions, Buffer>(deflate)(bytes, { chunkSize: 1 << 20 });
    const busy = [compress(), compress(), promisify(randomFill)(bytes)];
    await sleep(5);
    memory.close();
    await collect();
    await Promise.allSettled(busy);
  },

  'memory can be closed while it is mapped': async () => {
    const { ioas, kernel } = makeRig();
    const calls = Array.from({ length: 20 }, () => {
      const memory = DmaMemory.alloc(1 << 20, { kernel });
      const call = ioas.mapMemory(memory);
      memory.close();
      return call;
    });
    await Promise.allSettled(calls);
  },

  'devices can move bytes to memory that is closed': () => {
    const { ioas, kernel, registers } = makeRig();
    const memory = DmaMemory.alloc(4096, { kernel });
    const { iova } = ioas.mapMemorySync(memory);
    memory.close();
    transfer(registers, iova, 4096, true);
    transfer(registers, iova, 4096, false);
  },

  'registers read into memory that is closed, and write from it': () => {
    const { engine, kernel, registers } = makeRig();
    const memory = DmaMemory.alloc(4096, { kernel });
    const words = new Uint32Array(memory.buffer);
    const bytes = new Uint8Array(memory.buffer, 64, 64);
    registers.read(0, words);
    assert.equal(words[0], engineId);
    memory.close();
    registers.read(0, words);
    registers.write(0x80, words);
    assert.throws(() => engine.region(0).read(0, new Uint8Array(memory.buffer)), closed);
    engine.region(0).read(0, bytes);
    engine.region(0).write(0, bytes);
  },

  'accessors throw ERR_CLOSED after close': () => {
    const { registers } = makeRig();
    const all = useAll(registers);
    for (const use of all) use();
    registers.close();
    for (const use of [...all, ...useAll(registers)]) assert.throws(use, closed);
  },

  'accessors throw ERR_CLOSED when the device, or the iommufd, is closed': () => {
    for (const parent of ['engine', 'iommufd'] as const) {
      const rig = makeRig();
      rig[parent].close();
      for (const use of useAll(rig.registers)) assert.throws(use, closed);
    }
  },

  'accessors throw ERR_MEMORY_DISABLED while memory space is off': () => {
    const { engine, ssd, registers } = makeRig();
    const pages = ssd.region(2).map();
    const all = [...useAll(registers), ...useAll(pages)];
    for (let i = 0; i < 3; i += 1) {
      engine.command.memory = ssd.command.memory = false;
      for (const use of all) assert.throws(use, off);
      engine.command.memory = ssd.command.memory = true;
      for (const use of all) use();
      assert.equal(registers.read32(0), engineId);
    }
  },

  'accessors need no object to be called on, and are no constructors of anything': () => {
    const { registers, ssd } = makeRig();
    const { read32 } = registers;
    assert.equal(read32(0), engineId);
    for (const other of [ssd.region(2).map(), {}, null, 'text', globalThis, new Proxy({}, {})]) {
      assert.equal(Reflect.apply(read32, other, [0]), engineId);
    }
    assert.equal(typeof Reflect.construct(read32, [0]), 'object');
    class Derived extends (read32 as unknown as new (offset: number) => object) {}
    assert.ok(new Derived(0) instanceof Derived);
    assert.throws(() => Reflect.construct(read32, []), code('ERR_INVALID_ARG_TYPE'));
    registers.close();
    assert.throws(() => Reflect.apply(read32, {}, [0]), closed);
  },

  'accessors work when all else is garbage': async () => {
    const accessors = Array.from({ length: 20 }, () => makeRig().registers.read32);
    await collect();
    const rest = accessors.filter((_, i) => i % 2 === 0);
    accessors.length = 0;
    await collect();
    for (const read of rest) assert.equal(read(0), engineId);
  },

  'a mapping that was made for reading cannot be written, whatever the region says': () => {
    const { ssd } = makeRig();
    const region = ssd.region(2);
    for (const answers of [[false, true], [true, false], [false]]) {
      let asked = 0;
      const flags = {
        read: true,
        mmap: true,
        get write() {
          return answers[Math.min(asked++, answers.length - 1)]!;
        },
      };
      // A program in plain JavaScript can do this.
      if (!Reflect.defineProperty(region, 'flags', { value: flags, configurable: true, writable: true })) return;
      const pages = region.map({ length: 4096 });
      try {
        pages.write32(0, 1);
      } catch (error) {
        assert.equal((error as { code?: unknown }).code, 'ERR_READ_ONLY');
      }
    }
  },

  'a device can write its own registers': () => {
    const { engine, ioas, kernel, registers } = makeRig();
    const memory = DmaMemory.alloc(4096, { kernel });
    const host = ioas.mapMemorySync(memory);
    const self = ioas.mapDmaBuf(engine.exportDmaBuf({ region: 0, offset: 0n, length: 4096n }));
    // The engine's buffer has the register values that start the transfer which writes them.
    new BigUint64Array(memory.buffer).set([0x40000n, self.iova + 0x80n, 32n, 3n]);
    transfer(registers, host.iova, 32, false);
    transfer(registers, self.iova + 0x80n, 32, true);
    transfer(registers, self.iova + 0x80n, 32, false);
    assert.equal(registers.read32(0), engineId);
  },

  'closing everything while calls are under way': async () => {
    for (let i = 0; i < 10; i += 1) {
      const rig = makeRig();
      keepBusy(rig);
      await sleep(i);
      rig.engine.close();
      rig.ssd.close();
      await sleep(i % 3);
      try {
        rig.iommufd.close();
      } catch {
        // An attach may be under way: EBUSY.
      }
    }
    process.exit(0); // the calls would repeat forever
  },

  'workers that are terminated in mid-call': async () => {
    for (let round = 0; round < 4; round += 1) {
      const workers = Array.from({ length: 3 }, () => startWorker('busy'));
      await Promise.all(
        workers.map(async (worker, i) => {
          await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
          await sleep(2 * round + i);
          await worker.terminate();
        }),
      );
    }
  },

  'workers that end with everything open': async () => {
    const ends = (['leave', 'exit', 'leave', 'exit'] as const).map(async (work) => {
      const status = await new Promise((resolve, reject) =>
        startWorker(work).once('exit', resolve).once('error', reject),
      );
      assert.equal(status, work === 'exit' ? 3 : 0);
    });
    await Promise.all(ends);
  },

  'workers that end give the addresses of their memory back': async () => {
    const used = () => 1024 * Number(/VmSize:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
    const run = () => new Promise((resolve) => startWorker('keepMemory').once('exit', resolve));
    await run();
    const before = used();
    const count = 4;
    for (let i = 0; i < count; i += 1) assert.equal(await run(), 0);
    assert.ok(used() - before < large, `${String(used() - before)} bytes more`);
  },

  'a buffer that outlives the worker that gave it away': async () => {
    const worker = startWorker('giveAway');
    const buffer = await new Promise<ArrayBuffer | undefined>((resolve) => worker.once('message', resolve));
    await worker.terminate();
    await sleep(50);
    if (!buffer) return; // Node 20 has no transfer()
    const bytes = new Uint8Array(buffer);
    assert.ok([0, 7].includes(bytes[0]!));
    bytes.fill(9);
    await collect();
    assert.equal(bytes[65_535], 9);
  },

  'the process exits with calls under way': async () => {
    keepBusy(makeRig());
    await sleep(5);
    process.exit(0);
  },
};
