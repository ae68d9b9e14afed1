// Cases that must not crash: dma-bufs that the CPU has mapped, and fences.
import assert from 'node:assert/strict';
import { randomFill } from 'node:crypto';
import { ftruncateSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { DmaBuf, DmaHeap, DmaMemory } from '../../../lib';
import { FakeKernel, FenceTimeline } from '../../../lib/fake';
import { loadTypeScript } from '../../typescript';
import { collect, transferAway } from './rig';

const size = 65_536;

/** A dma-buf of each exporter that supports mmap. */
function buffers(kernel = new FakeKernel()): DmaBuf[] {
  const memory = DmaMemory.alloc(size / 2, { kernel });
  return [
    DmaHeap.open('system', { kernel }).allocSync(size),
    DmaBuf.fromMemory([{ memory }, { memory }], { kernel }),
    DmaMemory.alloc(size, { kernel }).exportDmaBuf(),
  ];
}

function filled(buffer: DmaBuf): { close: () => void; bytes: Uint8Array } {
  const mapped = buffer.map();
  return { close: () => mapped.close(), bytes: new Uint8Array(mapped.buffer).fill(7) };
}

export const mappedDmaBufCases: Record<string, () => Promise<void> | void> = {
  'a mapped dma-buf is zeros after close, in every view': async () => {
    for (const buffer of buffers()) {
      const { close, bytes } = filled(buffer);
      const words = new BigUint64Array(bytes.buffer, 4096, 8);
      close();
      assert(bytes.every((byte) => byte === 0));
      assert.equal(Atomics.load(words, 0), 0n);
      words[1] = 1n;
      await collect();
      assert.equal(words[1], 1n);
    }
  },

  'a mapped dma-buf that was transferred is zeros after close': async () => {
    for (const buffer of buffers()) {
      const { close, bytes } = filled(buffer);
      const moved = transferAway(bytes.buffer as ArrayBuffer);
      close();
      buffer.close();
      if (moved) assert(new Uint8Array(moved).every((byte) => byte === 0));
      await collect();
      if (moved) new Uint8Array(moved).fill(9);
    }
  },

  'a mapped dma-buf stays while a view of it is left': async () => {
    const kernel = new FakeKernel();
    const keep: Uint8Array[] = [];
    for (let i = 0; i < 30; i += 1) {
      for (const buffer of buffers(kernel)) {
        const { bytes } = filled(buffer);
        if (i % 10 === 0) keep.push(bytes);
      }
    }
    await collect();
    for (const bytes of keep) assert.equal(bytes[size - 1], 7);
    assert(kernel.openMappings < 200, `${kernel.openMappings} mappings are left`);
  },

  'a dma-buf closed while Node’s own threads write to its memory': async () => {
    for (const buffer of buffers()) {
      const { bytes } = filled(buffer);
      const busy = [1, 2, 3].map(() => promisify(randomFill)(bytes));
      buffer.close();
      await collect();
      await Promise.allSettled(busy);
    }
  },

  'a dma-buf closed in the middle of its own CPU access': async () => {
    for (const buffer of buffers()) {
      const mapped = buffer.map();
      const bytes = new Uint8Array(mapped.buffer);
      await buffer.cpuAccess('rw', async () => {
        buffer.close();
        bytes.fill(1);
        await collect();
        mapped.close();
        bytes.fill(2);
      });
      assert.equal(bytes[0], 2);
    }
  },

  'memory that its exporter takes away reads zeros from then on': () => {
    // The fake heap's memory is the dma-buf's own file, so it can be truncated. A real exporter revokes memory in other
    // ways.
    for (const access of ['view', 'read', 'write'] as const) {
      const buffer = DmaHeap.open('system', { kernel: new FakeKernel() }).allocSync(size);
      const mapped = buffer.map();
      const bytes = new Uint8Array(mapped.buffer).fill(7);
      const other = buffer.map();
      const untouched = new Uint8Array(filled(buffers()[2]!).bytes.buffer);
      ftruncateSync(buffer.fd, 0);
      if (access === 'view') assert.equal(bytes[4096], 0);
      const copy = new Uint8Array(8).fill(1);
      if (access === 'read') mapped.read(4096, copy);
      if (access === 'write') mapped.write(4096, copy);
      assert.equal(bytes[4096], access === 'write' ? 1 : 0);
      assert.equal(bytes[0], 0);
      bytes.fill(3);
      assert.equal(bytes[size - 1], 3);
      assert.equal(new Uint8Array(other.buffer)[5], 0);
      assert.equal(untouched[5], 7);
      mapped.close();
      assert.equal(bytes[0], 0);
    }
  },

  'memory that its exporter takes away while another thread looks at it': async () => {
    const buffer = DmaHeap.open('system', { kernel: new FakeKernel() }).allocSync(size);
    const memory = transferAway(buffer.map().buffer);
    if (!memory) return; // Node 20 cannot transfer it
    const worker = new Worker(
      `const { parentPort } = require('node:worker_threads');
       parentPort.once('message', (memory) => {
         const bytes = new Uint8Array(memory);
         parentPort.postMessage('looking');
         for (let i = 0; i < 3e7; i += 1) bytes[i % bytes.length] += 1;
         parentPort.postMessage('alive');
       });`,
      { eval: true },
    );
    const answers: unknown[] = [];
    worker.on('message', (answer) => answers.push(answer));
    try {
      worker.postMessage(memory, [memory]);
    } catch (error) {
      assert.equal((error as Error).name, 'DataCloneError');
      await worker.terminate();
      return;
    }
    while (answers.length === 0) await sleep(1);
    ftruncateSync(buffer.fd, 0);
    while (answers.length < 2) await sleep(5);
    await worker.terminate();
  },

  'a mapping for reading gives nobody memory to write to': () => {
    for (const buffer of buffers()) {
      const mapped = buffer.map({ access: 'r' });
      assert.throws(() => mapped.buffer, { code: 'ERR_READ_ONLY' });
      assert.throws(() => mapped.write(0, new Uint8Array(1)), { code: 'ERR_READ_ONLY' });
      mapped.read(0, new Uint8Array(size));
    }
  },

  'a dma-buf’s memory is copied onto itself, and into memory that is closed': () => {
    for (const buffer of buffers()) {
      const mapped = buffer.map();
      const bytes = new Uint8Array(mapped.buffer);
      mapped.write(1, bytes.subarray(0, 100));
      mapped.read(0, bytes);
      const other = filled(buffers()[0]!);
      other.close();
      mapped.read(0, other.bytes);
      mapped.write(0, other.bytes);
    }
  },

  'a process ends while it waits for fences': () => {
    const timeline = FenceTimeline.open({ kernel: new FakeKernel() });
    for (let i = 0; i < 50; i += 1) void timeline.createFence(i + 1).signaled();
    process.exit(0);
  },

  'a worker ends while it waits for fences': async () => {
    const script = `${loadTypeScript}
      const { FakeKernel, FenceTimeline } = require(${JSON.stringify(require.resolve('../../../lib/fake'))});
      const timeline = FenceTimeline.open({ kernel: new FakeKernel() });
      for (let i = 0; i < 50; i += 1) void timeline.createFence(i + 1).signaled();
      require('node:worker_threads').parentPort.postMessage('waiting');`;
    const worker = new Worker(script, { eval: true });
    await new Promise((resolve) => worker.once('message', resolve));
    await worker.terminate();
  },

  'a listener of a fence closes everything': async () => {
    const timeline = FenceTimeline.open({ kernel: new FakeKernel() });
    const fences = [1, 1, 1, 2].map((value) => timeline.createFence(value));
    const all = fences.map((fence) =>
      fence.signaled().then(
        () => {
          for (const other of fences) other.close();
          timeline.close();
        },
        () => undefined,
      ),
    );
    timeline.advance();
    await Promise.all(all);
  },
};
