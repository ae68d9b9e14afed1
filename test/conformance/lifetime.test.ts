// Closing objects: in every order and during calls, without leaving anything open.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { defaultKernel, DmaMemory, Iommufd, VfioDevice, type Ioas, type IoasMapping } from '../../lib';
import { FakeKernel } from '../../lib/fake';
import { loadTypeScript } from '../typescript';
import { openFds } from './fds';
import { conforms, conformsOnlyOn, observe, refuses } from './record';
import { addresses, MiB, page, useRig } from './rig';

const kept: { close(): void }[] = [];

/** Registers an object to close when the case ends, even if the case has closed it. */
function keep<T extends { close(): void }>(object: T): T {
  kept.push(object);
  return object;
}

/** Closes the registered objects after each case of a describe block. */
function closeKept(): void {
  afterEach(async () => {
    for (let last = kept.at(-1); last; last = kept.at(-1)) {
      last.close();
      if (last instanceof Iommufd) await last[Symbol.asyncDispose]();
      kept.pop();
    }
  });
}

/** Opens an iommufd with devices, mappings and mapped registers. */
async function build() {
  const iommufd = keep(Iommufd.open());
  const ioas = iommufd.allocIoas();
  const ssd = keep(await VfioDevice.open(addresses.ssd, { iommufd }));
  const engine = keep(await VfioDevice.open(addresses.engine, { iommufd }));
  await engine.attach(ioas);
  const memory = keep(DmaMemory.alloc(MiB));
  const host = await ioas.mapMemory(memory);
  const buffer = keep(ssd.exportDmaBuf({ region: 2, offset: 0n, length: page }));
  const peer = ioas.mapDmaBuf(buffer);
  const registers = engine.region(0).map();
  return { iommufd, ioas, ssd, engine, memory, host, buffer, peer, registers };
}

type World = Awaited<ReturnType<typeof build>>;

/** The states of the iommufd and the objects that belong to it. */
function closedStates({ iommufd, ioas, ssd, engine, host, peer, registers }: World): unknown[] {
  return [iommufd.closed, ioas.closed, ssd.closed, engine.closed, registers.closed, host.state, peer.state];
}

const allClosed = [true, true, true, true, true, 'closed', 'closed'];

/** Asserts that the devices can be opened, and that at most `fds` fds are open. */
async function assertFree(fds: number): Promise<void> {
  assert(openFds() <= fds, `${String(openFds() - fds)} fds are open`);
  using iommufd = Iommufd.open();
  using ssd = await VfioDevice.open(addresses.ssd, { iommufd });
  using engine = await VfioDevice.open(addresses.engine, { iommufd });
  observe([ssd.id, engine.id]);
}

describe('closing', () => {
  closeKept();

  // Makes Node open the fds that it keeps for pool threads and promises.
  before(async () => {
    const { iommufd, buffer, memory } = await build();
    for (const object of [iommufd, buffer, memory]) object.close();
  });

  conforms('an iommufd takes all that hangs on it along', async () => {
    const fds = openFds();
    const world = await build();
    world.iommufd.close();
    assert.deepEqual(observe(closedStates(world)), allClosed);
    world.buffer.close();
    world.memory.close();
    await assertFree(fds);
  });

  conforms('an iommufd on a pool thread does the same', async () => {
    const fds = openFds();
    const world = await build();
    const closing = world.iommufd[Symbol.asyncDispose]();
    await refuses('ERR_CLOSED', () => world.iommufd.allocIoas());
    await closing;
    world.iommufd.close();
    await world.iommufd[Symbol.asyncDispose]();
    assert.deepEqual(observe(closedStates(world)), allClosed);
    world.buffer.close();
    world.memory.close();
    await assertFree(fds);
  });

  conforms('each object on a pool thread, from the leaves to the root', async () => {
    const fds = openFds();
    const world = await build();
    const { iommufd, ioas, ssd, engine, host, peer } = world;
    for (const object of [host, peer, engine, ssd, ioas, iommufd]) {
      const closing = object[Symbol.asyncDispose]();
      if (object === host || object === peer) assert.equal(object.state, 'closed');
      else await refuses('ERR_CLOSED', () => (object as { handle: unknown }).handle);
      await closing;
      await object[Symbol.asyncDispose]();
    }
    assert.deepEqual(observe(closedStates(world)), allClosed);
    world.buffer.close();
    world.memory.close();
    await assertFree(fds);
  });

  conforms('in the wrong order is no error, and no object is forgotten', async () => {
    const fds = openFds();
    const world = await build();
    const { iommufd, ioas, ssd, engine, memory, host, buffer, peer, registers } = world;
    for (const object of [iommufd, ioas, ssd, engine, memory, host, buffer, peer, registers]) {
      object.close();
      object.close();
    }
    assert.deepEqual(observe(closedStates(world)), allClosed);
    await assertFree(fds);
  });

  conforms('an IOAS with devices attached detaches them', async () => {
    const world = await build();
    await world.ioas[Symbol.asyncDispose]();
    assert.equal(observe(world.engine.ioas), undefined);
    const next = world.iommufd.allocIoas();
    await world.engine.attach(next);
    world.iommufd.close();
    world.memory.close();
    world.buffer.close();
  });

  conforms('`await using` closes in the order that the kernel wants', async () => {
    const fds = openFds();
    {
      await using iommufd = Iommufd.open();
      await using ioas = iommufd.allocIoas();
      await using engine = await VfioDevice.open(addresses.engine, { iommufd });
      await engine.attach(ioas);
      using memory = DmaMemory.alloc(MiB);
      await using mapping = await ioas.mapMemory(memory);
      observe(mapping.length);
    }
    await assertFree(fds);
  });
});

describe('a call under way', () => {
  closeKept();

  type Start = (world: World) => Promise<unknown>;
  const calls: Record<string, Start> = {
    'open and bind': ({ iommufd }) => VfioDevice.open(addresses.display, { iommufd }),
    attach: ({ ssd, ioas }) => ssd.attach(ioas),
    detach: ({ engine }) => engine.detach(),
    reset: ({ ssd }) => ssd.reset(),
    'low power': ({ ssd }) => ssd.enterLowPower(),
    mapMemory: ({ ioas, memory }) => ioas.mapMemory(memory),
    mapFile: ({ ioas, memory }) => ioas.mapFile(memory.fd, { length: memory.size }),
    copy: ({ ioas, host }) => ioas.copy(host),
    'closing a mapping': ({ host }) => host[Symbol.asyncDispose](),
    'closing a device': ({ engine }) => engine[Symbol.asyncDispose](),
    'closing the IOAS': ({ ioas }) => ioas[Symbol.asyncDispose](),
  };
  const ends: Record<string, (world: World) => unknown> = {
    'the iommufd is closed': ({ iommufd }) => iommufd.close(),
    'the iommufd is closed on a pool thread': ({ iommufd }) => iommufd[Symbol.asyncDispose](),
    'the devices are closed': ({ ssd, engine }) => {
      ssd.close();
      engine.close();
    },
    'everything is closed on pool threads': ({ host, peer, ssd, engine, ioas, iommufd }) =>
      Promise.all([host, peer, ssd, engine, ioas, iommufd].map((object) => object[Symbol.asyncDispose]())),
  };
  for (const [call, start] of Object.entries(calls)) {
    conforms(`${call}: succeeds or is ERR_CLOSED, whatever is closed meanwhile, and nothing stays open`, async () => {
      const fds = openFds();
      for (const end of Object.values(ends)) {
        const world = await build();
        const underWay = start(world).catch((error: unknown) => {
          if ((error as { code: unknown }).code !== 'ERR_CLOSED') throw error;
        });
        await Promise.all([end(world), underWay]);
        world.iommufd.close();
        await world.iommufd[Symbol.asyncDispose]();
        world.memory.close();
        world.buffer.close();
        await assertFree(fds);
      }
    });
  }
});

describe('a mapping under way', () => {
  const rig = useRig('engine');

  /** Asserts that the IOAS has no mappings, neither in the library nor in the kernel. */
  function assertEmpty(ioas: Ioas): void {
    assert.equal(ioas.mappings.length, 0);
    assert.equal(ioas.unmap(), 0n);
  }

  conforms('memory that is closed meanwhile stays mapped', async () => {
    await rig.engine();
    const memory = rig.keep(DmaMemory.alloc(MiB));
    const mapping = rig.ioas.mapMemory(memory);
    memory.close();
    assert.equal(observe((await mapping).state), 'live');
    assert.equal(rig.ioas.unmap(), MiB);
  });

  conforms('mapMemory, mapFile and copy are ERR_CLOSED when their IOVAs are unmapped meanwhile', async () => {
    await rig.engine();
    const memory = rig.keep(DmaMemory.alloc(MiB));
    const source = rig.keep(rig.iommufd.allocIoas());
    const first = await source.mapMemory(memory);
    const starts: (() => Promise<IoasMapping>)[] = [
      () => rig.ioas.mapMemory(memory, { iova: 0x1000_0000n }),
      () => rig.ioas.mapFile(memory.fd, { iova: 0x1000_0000n, length: memory.size }),
      () => rig.ioas.copy(first, { iova: 0x1000_0000n }),
    ];
    for (const start of starts) {
      const underWay = start();
      try {
        rig.ioas.unmap();
      } catch (error) {
        // The kernel refused to unmap a mapping that was still being made. The mapping then succeeds.
        if ((error as { code: unknown }).code !== 'EBUSY') throw error;
        (await underWay).close();
        continue;
      }
      const failure: unknown = await underWay.then(
        () => new Error('it is mapped'),
        (error: unknown) => error,
      );
      if ((failure as { code?: unknown }).code !== 'ERR_CLOSED') throw failure;
      assertEmpty(rig.ioas);
    }
    // An unmap of other IOVAs has no effect on the mapping.
    const mapping = rig.ioas.mapMemory(memory, { iova: 0x1000_0000n });
    await refuses('ENOENT', () => rig.ioas.unmap(0x2000_0000n, page));
    assert.equal(observe((await mapping).state), 'live');
  });

  conforms('many at once, and all are counted', async () => {
    const memory = rig.keep(DmaMemory.alloc(page));
    const mappings = await Promise.all(Array.from({ length: 50 }, () => rig.ioas.mapMemory(memory)));
    assert.equal(new Set(mappings.map(({ iova }) => iova)).size, 50);
    await Promise.all(mappings.map((mapping) => mapping[Symbol.asyncDispose]()));
    assertEmpty(rig.ioas);
  });
});

describe('a device in two processes', () => {
  const rig = useRig('ssd');
  const disable = 'import os; os.pwrite(3, bytes([0, 0]), (7 << 40) + 4)';
  const enable = 'import os; os.pwrite(3, bytes([2, 0]), (7 << 40) + 4)';
  const reason = "the fake's devices are this process's own";

  conformsOnlyOn('system', reason, 'whose memory the other switches off: ERR_MEMORY_DISABLED, not SIGBUS', async () => {
    const device = rig.device('ssd');
    const registers = rig.keep(device.region(0).map());
    const elsewhere = (script: string) =>
      execFileSync('python3', ['-c', script], { stdio: ['ignore', 'inherit', 'inherit', device.fd] });
    assert.equal(registers.read32(8), 0x10400);
    elsewhere(disable);
    await refuses('ERR_MEMORY_DISABLED', () => registers.read32(8));
    await refuses('ERR_MEMORY_DISABLED', () => registers.read64(8));
    await refuses('ERR_MEMORY_DISABLED', () => registers.write32(0x14, 0));
    await refuses('ERR_MEMORY_DISABLED', () => registers.read(0, new Uint32Array(16)));
    await refuses('ERR_MEMORY_DISABLED', () => registers.write(0x14, new Uint32Array(1)));
    elsewhere(enable);
    assert.equal(registers.read32(8), 0x10400);
  });
});

describe('a device in two threads', () => {
  const rig = useRig('ssd', 'engine');

  /** Runs `code` in a worker, with the library as `lib`, the same kernel as `kernel`, and `fds`. */
  async function inWorker(code: string, fds: number[]): Promise<unknown> {
    const script = `
      ${loadTypeScript}
      const lib = require(${JSON.stringify(require.resolve('../../lib'))});
      const { FakeKernel } = require(${JSON.stringify(require.resolve('../../lib/fake'))});
      const { parentPort, workerData } = require('node:worker_threads');
      const { token, fds } = workerData;
      const kernel = token ? FakeKernel.attach(token) : lib.Kernel.system;
      (async () => { ${code} })().then((result) => parentPort.postMessage(result));`;
    const kernel = defaultKernel();
    const token = kernel instanceof FakeKernel ? kernel.token : undefined;
    const worker = new Worker(script, { eval: true, workerData: { token, fds } });
    // Listens for both from the start, as they may arrive together.
    try {
      const [[answer]] = await Promise.all([once(worker, 'message') as Promise<[unknown]>, once(worker, 'exit')]);
      return answer;
    } finally {
      await worker.terminate();
    }
  }

  conforms('what one revokes, the other sees at once', async () => {
    const ssd = rig.device('ssd');
    const peer = rig.ioas.mapDmaBuf(rig.exported('ssd', 2, page));
    const registers = rig.keep(ssd.region(0).map());
    const code = `
      const ssd = await lib.VfioDevice.open(fds[0], { kernel });
      await ssd.reset();
      ssd.close();`;
    await inWorker(code, [ssd.fd]);
    assert.equal(observe(peer.state), 'revoked');
    peer.remap();
    assert.equal(observe(peer.state), 'live');
    await inWorker(`(await lib.VfioDevice.open(fds[0], { kernel })).command.memory = false;`, [ssd.fd]);
    assert.equal(observe(peer.state), 'revoked');
    await refuses('ERR_MEMORY_DISABLED', () => registers.read32(8));
  });

  conforms('a buffer that was exported in one is known in the other', async () => {
    const ssd = rig.device('ssd');
    const buffer = rig.exported('ssd', 2, page);
    const code = `
      const iommufd = lib.Iommufd.open({ kernel });
      const peer = iommufd.allocIoas().mapDmaBuf(lib.DmaBuf.fromFd(fds[0], { kernel }));
      const states = [peer.state];
      const ssd = await lib.VfioDevice.open(fds[1], { kernel });
      const reset = ssd.reset();
      states.push(peer.state);
      await reset;
      peer.remap();
      states.push(peer.state);
      iommufd.close();
      ssd.close();
      return states;`;
    assert.deepEqual(observe(await inWorker(code, [buffer.fd, ssd.fd])), ['live', 'revoked', 'live']);
  });
});
