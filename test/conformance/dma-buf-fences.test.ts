// Synchronization of dma-bufs: CPU access, the fences of devices that use a dma-buf, and waiting for them.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { defaultKernel, DmaBuf, DmaHeap, DmaMemory, SyncFile, type Access } from '../../lib';
import { FakeKernel, FenceTimeline } from '../../lib/fake';
import { loadTypeScript } from '../typescript';
import { conforms, endsWith, isPending, observe, refuses } from './record';
import { cmb, MiB, useRig } from './rig';

const ways = ['r', 'w', 'rw'] as const satisfies Access[];

describe('CPU access to a dma-buf', () => {
  const rig = useRig('ssd');
  const udmabuf = () => rig.keep(rig.keep(DmaMemory.alloc(8192)).exportDmaBuf());
  const kinds = () => [
    rig.exported('ssd', cmb.region, MiB),
    udmabuf(),
    rig.keep(rig.keep(DmaHeap.open()).allocSync(8192)),
  ];

  conforms('runs a callback, and returns what it returns', () => {
    for (const buffer of kinds()) {
      for (const access of ways) {
        assert.equal(observe(buffer.cpuAccess(access, () => `accessed ${access}`)), `accessed ${access}`);
      }
    }
  });

  conforms('lasts as long as the callback’s promise', async () => {
    for (const buffer of kinds()) {
      const result = buffer.cpuAccess('rw', async () => {
        await sleep(1);
        return 7;
      });
      assert(result instanceof Promise);
      assert.equal(observe(await result), 7);
    }
  });

  conforms('ends when the callback throws, with its error', async () => {
    const mine = new Error('mine');
    for (const buffer of kinds()) {
      await endsWith(mine, () =>
        buffer.cpuAccess('r', () => {
          throw mine;
        }),
      );
      await endsWith(mine, () =>
        buffer.cpuAccess('w', async () => {
          await sleep(1);
          throw mine;
        }),
      );
      assert.equal(buffer.references, 1);
    }
    observe('all of it');
  });

  conforms('can be nested', () => {
    const buffer = udmabuf();
    observe(buffer.cpuAccess('rw', () => buffer.cpuAccess('r', () => buffer.cpuAccess('w', () => 'inside'))));
  });

  conforms('survives that the callback closes the dma-buf', async () => {
    for (const buffer of kinds()) {
      const copy = rig.keep(DmaBuf.fromFd(buffer.fd));
      const held = await buffer.cpuAccess('rw', async () => {
        buffer.cpuAccess('r', () => buffer.close());
        await sleep(1);
        return copy.references;
      });
      assert.equal(observe(held), 2);
      assert.equal(observe(copy.references), 1);
      await refuses('ERR_CLOSED', () => buffer.cpuAccess('r', () => undefined));
    }
  });

  conforms('begins and ends in any order, but a udmabuf’s must begin', async () => {
    const [exported, buffer, heap] = kinds() as [DmaBuf, DmaBuf, DmaBuf];
    exported.endCpuAccess();
    heap.endCpuAccess('r');
    await refuses('EINVAL', () => buffer.endCpuAccess('w'));
    buffer.beginCpuAccess('r');
    buffer.endCpuAccess('w');
    buffer.endCpuAccess('r');
    buffer.endCpuAccess();
    observe('begun once, it ends at will');
  });

  conforms('of another kind, or without a callback, never reaches the kernel', async () => {
    const buffer = udmabuf();
    await refuses('ERR_OUT_OF_RANGE', () => buffer.cpuAccess('x' as 'r', () => 1));
    await refuses('ERR_INVALID_ARG_TYPE', () => buffer.cpuAccess(undefined as never, () => 1));
    await refuses('ERR_INVALID_ARG_TYPE', () => buffer.cpuAccess('r', 7 as never));
  });
});

describe('the fences of a dma-buf', () => {
  const rig = useRig('ssd');
  const timeline = () => rig.keep(FenceTimeline.open());
  const udmabuf = () => rig.keep(rig.keep(DmaMemory.alloc(8192)).exportDmaBuf());
  /** A dma-buf that a device reads or writes until the timeline advances. */
  const busy = (access: Access, buffer = udmabuf()) => {
    const source = timeline();
    const fence = rig.keep(source.createFence(1));
    buffer.importSyncFile(fence, access);
    return { buffer, source, fence };
  };
  const summary = (file: SyncFile) => {
    const { state, fences } = rig.keep(file).info();
    return { state, fences: fences.map(({ driver, state }) => ({ driver, state })) };
  };

  conforms('there are none at first: the sync file is signaled', async () => {
    for (const buffer of [udmabuf(), rig.exported('ssd', cmb.region, MiB)]) {
      for (const access of ways) {
        const file = buffer.exportSyncFile(access);
        assert.equal(observe(summary(file)).state, 'signaled');
        await file.signaled();
        await buffer.idle(access);
      }
    }
  });

  conforms('of a writer are waited for by all', async () => {
    const { buffer, source } = busy('w');
    const files = ways.map((access) => rig.keep(buffer.exportSyncFile(access)));
    assert(observe(files.map(summary)).every(({ state }) => state === 'pending'));
    const waits = ways.map((access) => buffer.idle(access));
    assert.deepEqual(observe(await Promise.all(waits.map(isPending))), [true, true, true]);
    source.advance();
    await Promise.all(waits);
    await Promise.all(files.map((file) => file.signaled()));
    observe(ways.map((access) => summary(buffer.exportSyncFile(access))));
  });

  conforms('of a reader are waited for by writers only', async () => {
    const { buffer, source } = busy('r');
    observe(ways.map((access) => summary(buffer.exportSyncFile(access))));
    await buffer.idle('r');
    const waits = [buffer.idle('w'), buffer.idle('rw')];
    assert.deepEqual(observe(await Promise.all(waits.map(isPending))), [true, true]);
    source.advance();
    await Promise.all(waits);
  });

  conforms('of a device that does both are a writer’s', () => {
    const { buffer } = busy('rw');
    observe(ways.map((access) => summary(buffer.exportSyncFile(access))));
  });

  conforms('of several are waited for, each in its turn', async () => {
    const { buffer, source } = busy('w');
    const second = busy('r', buffer);
    const third = busy('w', buffer);
    observe(ways.map((access) => summary(buffer.exportSyncFile(access))));
    const [reading, writing] = [buffer.idle('r'), buffer.idle('w')];
    source.advance();
    assert.deepEqual(observe([await isPending(reading), await isPending(writing)]), [true, true]);
    third.source.advance();
    await reading;
    assert.equal(observe(await isPending(writing)), true);
    second.source.advance();
    await writing;
  });

  conforms('of one timeline are its latest', () => {
    const buffer = udmabuf();
    const source = timeline();
    const fences = [1, 2, 3].map((value) => rig.keep(source.createFence(value)));
    buffer.importSyncFile(fences[1]!, 'w');
    buffer.importSyncFile(fences[0]!, 'w');
    observe(summary(buffer.exportSyncFile('r')));
    buffer.importSyncFile(fences[2]!, 'w');
    assert.equal(observe(summary(buffer.exportSyncFile('rw'))).fences.length, 2);
    source.advance(2);
    assert.equal(observe(summary(buffer.exportSyncFile('rw'))).fences.length, 1);
  });

  conforms('that are merged are imported each by itself', async () => {
    const buffer = udmabuf();
    const sources = [timeline(), timeline()];
    const [one, other] = sources.map((source) => rig.keep(source.createFence(1))) as [SyncFile, SyncFile];
    buffer.importSyncFile(rig.keep(one.merge(other)), 'w');
    assert.equal(observe(summary(buffer.exportSyncFile())).fences.length, 2);
    sources[0]!.advance();
    assert.equal(observe(summary(buffer.exportSyncFile())).fences.length, 1);
    sources[1]!.advance();
    await buffer.idle();
  });

  conforms('that are signaled change nothing', async () => {
    const buffer = udmabuf();
    buffer.importSyncFile(rig.keep(timeline().createFence(0)), 'w');
    await buffer.idle();
    assert.equal(observe(summary(buffer.exportSyncFile())).state, 'signaled');
  });

  conforms('are imported from another dma-buf', async () => {
    const { buffer, source } = busy('w');
    const next = udmabuf();
    next.importSyncFile(rig.keep(buffer.exportSyncFile('r')), 'r');
    assert.equal(observe(await isPending(next.idle())), true);
    await next.idle('r');
    source.advance();
    await next.idle();
  });

  conforms('of a timeline that was closed have failed, and nobody waits', async () => {
    const { buffer, source, fence } = busy('w');
    const waiting = buffer.idle('r');
    source.close();
    await waiting;
    assert.equal(observe(fence.info().error), 'ENOENT');
  });

  conforms('an abort ends a wait, with its reason', async () => {
    const { buffer, source } = busy('w');
    const controller = new AbortController();
    const waiting = buffer.idle('rw', { signal: controller.signal });
    controller.abort();
    await endsWith({ name: 'AbortError' }, () => waiting);
    await endsWith({ name: 'AbortError' }, () => buffer.idle('r', { signal: AbortSignal.abort() }));
    const other = buffer.idle();
    source.advance();
    await other;
    observe('and another wait works');
  });

  conforms('closing the dma-buf ends a wait: ERR_CLOSED', async () => {
    const { buffer, source } = busy('w');
    const waiting = buffer.idle();
    buffer.close();
    await refuses('ERR_CLOSED', () => waiting);
    await refuses('ERR_CLOSED', () => buffer.idle());
    await refuses('ERR_CLOSED', () => buffer.exportSyncFile());
    await refuses('ERR_CLOSED', () => buffer.importSyncFile(rig.keep(source.createFence(1))));
  });

  conforms('of what is no sync file: TypeError', async () => {
    const buffer = udmabuf();
    await refuses('ERR_INVALID_ARG_TYPE', () => buffer.importSyncFile(buffer as never));
    await refuses('ERR_OUT_OF_RANGE', () => buffer.importSyncFile(rig.keep(timeline().createFence(1)), 'x' as 'r'));
    await refuses('ERR_OUT_OF_RANGE', () => buffer.exportSyncFile('' as 'r'));
    await refuses('ERR_OUT_OF_RANGE', () => buffer.idle('x' as 'r'));
    await refuses('ERR_INVALID_ARG_TYPE', () => buffer.idle('r', { signal: {} as AbortSignal }));
    const closed = timeline().createFence(1);
    closed.close();
    await refuses('ERR_CLOSED', () => buffer.importSyncFile(closed));
  });

  conforms('hold up the begin of CPU access, until another thread signals them', async () => {
    const buffer = udmabuf();
    await using later = await signalLater();
    const fence = rig.keep(SyncFile.fromFd(later.fd));
    buffer.importSyncFile(fence, 'r');
    buffer.beginCpuAccess('r'); // does not wait for readers
    buffer.endCpuAccess('r');
    assert.equal(observe(fence.state), 'pending');
    later.go();
    buffer.beginCpuAccess('w');
    assert.equal(observe(fence.state), 'signaled');
    buffer.endCpuAccess('w');
  });

  conforms('hold up what revokes a dma-buf of VFIO’s', async () => {
    const buffer = rig.exported('ssd', cmb.region, MiB);
    const { source } = busy('r', buffer);
    let done = false;
    const reset = rig
      .device('ssd')
      .reset()
      .then(() => (done = true));
    await sleep(700); // a reset takes 100 ms
    assert.equal(observe(done), false);
    source.advance();
    await reset;
    await rig.device('ssd').reset();
  });
});

/** A fence that another thread signals after a short time: its fd, and a function that starts the delay. */
async function signalLater(): Promise<AsyncDisposable & { fd: number; go: () => void }> {
  const script = `
    ${loadTypeScript}
    const { FakeKernel, FenceTimeline } = require(${JSON.stringify(require.resolve('../../lib/fake'))});
    const { Kernel } = require(${JSON.stringify(require.resolve('../../lib'))});
    const { parentPort, workerData } = require('node:worker_threads');
    const { token, gate } = workerData;
    const timeline = FenceTimeline.open({ kernel: token ? FakeKernel.attach(token) : Kernel.system });
    const fence = timeline.createFence(1);
    parentPort.postMessage(fence.fd);
    parentPort.once('message', () => {
      timeline.close();
      fence.close();
    });
    Atomics.wait(gate, 0, 0);
    Atomics.wait(gate, 0, 1, 50);
    timeline.advance();`;
  const kernel = defaultKernel();
  const gate = new Int32Array(new SharedArrayBuffer(4));
  const token = kernel instanceof FakeKernel ? kernel.token : undefined;
  const worker = new Worker(script, { eval: true, workerData: { token, gate } });
  const ended = once(worker, 'exit');
  ended.catch(() => undefined);
  const [fd] = (await once(worker, 'message')) as [number];
  const go = () => {
    Atomics.store(gate, 0, 1);
    Atomics.notify(gate, 0);
  };
  return {
    fd,
    go,
    [Symbol.asyncDispose]: async () => {
      go();
      worker.postMessage('close');
      await ended;
    },
  };
}
