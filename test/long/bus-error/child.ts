// Runs one case of test/long/bus-error.test.ts: child.ts CASE. Prints 'guarded' when bus errors in memory that the
// library has mapped did not end the process.
import assert from 'node:assert/strict';
import { ftruncateSync, readdirSync, readlinkSync } from 'node:fs';
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { DmaHeap, Iommufd, VfioDevice } from '../../../lib';
import { FakeKernel } from '../../../lib/fake';
import { loadTypeScript } from '../../typescript';

const size = 65_536;
const path = { kernel: new FakeKernel() };

function mapped() {
  const iommufd = Iommufd.open(path);
  const ssd = VfioDevice.openSync(path.kernel.addressOf('ssd'), { iommufd });
  ssd.command.memory = true;
  const heap = DmaHeap.open('system', path);
  return { registers: ssd.region(2).map(), buffers: [heap.allocSync(size), heap.allocSync(size)] };
}

/**
 * Truncates the memory. The fake kernel keeps a BAR in a memfd, and a heap's memory in the dma-buf's file, so accesses
 * raise SIGBUS.
 */
function takeAway(buffers: { fd: number }[]): void {
  const bars = readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).includes('fake-bar');
    } catch {
      return false; // the fd of the directory listing
    }
  });
  assert(bars.length > 0);
  for (const fd of [...bars.map(Number), ...buffers.map(({ fd }) => fd)]) ftruncateSync(fd, 0);
}

function guarded({ registers, buffers }: ReturnType<typeof mapped>): void {
  const views = buffers.map((buffer) => new Uint8Array(buffer.map().buffer).fill(7));
  takeAway(buffers);
  assert.throws(() => registers.read32(0), { code: 'ERR_MEMORY_DISABLED' });
  assert.throws(() => registers.write32(0, 1), { code: 'ERR_MEMORY_DISABLED' });
  assert.throws(() => registers.read(8, new Uint32Array(4)), { code: 'ERR_MEMORY_DISABLED' });
  assert.deepEqual(
    views.map((view) => view[5]),
    [0, 0],
  );
  console.log('guarded');
}

const listener = () => console.log('heard');

const cases: Record<string, () => unknown> = {
  'nobody listens': () => guarded(mapped()),
  'a listener comes before': () => {
    process.on('SIGBUS', listener);
    guarded(mapped());
  },
  'a listener comes after': () => {
    const all = mapped();
    process.on('SIGBUS', listener);
    guarded(all);
  },
  'a listener comes before and goes after': () => {
    process.on('SIGBUS', listener);
    const all = mapped();
    all.registers.read32(0);
    process.off('SIGBUS', listener);
    guarded(all);
  },
  'listeners come and go': async () => {
    const all = mapped();
    for (let i = 0; i < 3; i += 1) {
      process.on('SIGBUS', listener);
      if (i === 1) await turn();
      process.off('SIGBUS', listener);
    }
    process.once('SIGBUS', listener);
    process.off('SIGBUS', listener);
    guarded(all);
  },
  'a worker that mapped has ended': async () => {
    const worker = new Worker(
      `${loadTypeScript}
       const { DmaHeap } = require(${JSON.stringify(require.resolve('../../../lib'))});
       const { FakeKernel } = require(${JSON.stringify(require.resolve('../../../lib/fake'))});
       DmaHeap.open('system', { kernel: new FakeKernel() }).allocSync(4096).map();`,
      { eval: true },
    );
    await new Promise((resolve) => worker.once('exit', resolve));
    process.on('SIGBUS', listener);
    process.off('SIGBUS', listener);
    guarded(mapped());
  },
  'a signal that is sent is heard': async () => {
    const all = mapped();
    process.on('SIGBUS', listener);
    process.kill(process.pid, 'SIGBUS');
    await sleep(200);
    process.kill(process.pid, 'SIGBUS');
    await sleep(200);
    guarded(all);
  },
  'a signal that is sent is heard by whoever came before': async () => {
    process.on('SIGBUS', listener);
    const all = mapped();
    process.kill(process.pid, 'SIGBUS');
    await sleep(200);
    guarded(all);
  },
  'a signal that is sent ends the process when nobody listens': async () => {
    const all = mapped();
    process.on('SIGBUS', listener);
    process.off('SIGBUS', listener);
    all.registers.read32(0);
    process.kill(process.pid, 'SIGBUS');
    await sleep(10_000);
  },
};

const run = cases[process.argv[2] ?? ''];
if (!run) throw new Error('no such case');
void Promise.resolve(run()).then(() => process.exit());
