// When a process or a worker ends, at any step and in any way, its devices are free: the next one opens, binds,
// attaches and uses them at once. "At once" is in the handler of the event that reports the end, without a retry. On
// the fake kernel each process has a kernel of its own. There only workers share devices, and processes must just end
// without an error.
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { DmaMemory, Iommufd, VfioDevice, type Kernel } from '../../lib';
import { FakeKernel } from '../../lib/fake';
import { Edu } from '../../examples/edu';
import { plain } from '../../scripts/compile.cjs';
import type { Task, Way, WorkerTask } from './child';
import { addresses, steps, withoutBound } from './life';

const child = plain('test/process-ends/child.ts');
const patience = 30_000;
const isFake = process.env['VFIO_DMABUF_KERNEL'] !== 'system';

const ways: Record<Way, { code: number | null; signal: NodeJS.Signals | null }> = {
  'process.exit()': { code: 7, signal: null },
  'an uncaught error': { code: 1, signal: null },
  'an unhandled rejection': { code: 1, signal: null },
  SIGTERM: { code: null, signal: 'SIGTERM' },
  SIGKILL: { code: null, signal: 'SIGKILL' },
  'process.exit() under a worker': { code: 7, signal: null },
};

/** Everything that a successor does before its first await. */
function takeDevices(kernel: Kernel) {
  const iommufd = Iommufd.open({ kernel });
  try {
    const ioas = iommufd.allocIoas();
    const engine = VfioDevice.openSync(addresses.engine, { iommufd });
    const ssd = VfioDevice.openSync(addresses.ssd, { iommufd });
    engine.attachSync(ioas);
    ssd.attachSync(ioas);
    return { iommufd, ioas, engine, ssd };
  } catch (error) {
    iommufd.close();
    throw error;
  }
}

interface Taken {
  devices?: ReturnType<typeof takeDevices>;
  error?: unknown;
}

/** Transfers bytes from memory through the engine into the drive's CMB. */
async function useDevices({ devices, error }: Taken): Promise<void> {
  if (!devices) throw error;
  const { ioas, engine, ssd } = devices;
  using iommufd = devices.iommufd;
  engine.command.memory = ssd.command.memory = true;
  using memory = DmaMemory.alloc(4096, { kernel: iommufd.kernel });
  const bytes = Buffer.from(memory.buffer, 0, 1024).fill('the next');
  using cmb = ssd.exportDmaBuf({ region: 2, offset: 0n, length: 4096n });
  await new Edu(engine).copy(ioas.mapMemorySync(memory).iova, ioas.mapDmaBuf(cmb).iova, bytes.length);
  const arrived = Buffer.alloc(bytes.length);
  ssd.region(2).read(0, arrived);
  assert(arrived.equals(bytes), 'the DMA did not arrive');
}

/** The names of this process's open files. */
function openFiles(): string[] {
  const names = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ''; // the fd of the directory listing
    }
  });
  return names.filter((name) => /vfio|iommu|memfd|dmabuf/.test(name)).sort();
}

describe(`the end, on the ${isFake ? 'fake' : 'system’s'} kernel`, function () {
  this.timeout(2 * patience);
  const folder = mkdtempSync(join(tmpdir(), 'vfio-dmabuf-ends-'));
  let kernel: Kernel;
  let next: ChildProcess | undefined;
  const slowest = { what: '', ms: 0 };

  /** Starts a child that waits for its task. The next child starts while this one works. */
  function startChild(): ChildProcess {
    return spawn(process.execPath, [child], { stdio: 'pipe', env: { ...process.env, TMPDIR: folder } });
  }

  /** Takes the devices in an event handler. useDevices() later throws its error. */
  function takeAtOnce(what: string): Taken {
    const start = performance.now();
    try {
      return { devices: takeDevices(kernel) };
    } catch (error) {
      return { error };
    } finally {
      const ms = performance.now() - start;
      if (ms > slowest.ms) Object.assign(slowest, { what, ms });
    }
  }

  before(() => {
    kernel = isFake ? new FakeKernel() : Iommufd.open().kernel;
    next = startChild();
  });
  after(() => {
    if (kernel instanceof FakeKernel) kernel.close();
    next?.kill('SIGKILL');
    rmSync(folder, { recursive: true });
    console.log(`    the slowest open, bind and attach: ${slowest.ms.toFixed(1)} ms, after ${slowest.what}`);
  });

  /** Gives a child its task. Resolves to the devices that were taken at its end. */
  async function endChild(step: string, way: Way, within = patience): Promise<Taken> {
    const current = next ?? startChild();
    next = startChild();
    const texts = { out: '', err: '' };
    current.stdout!.on('data', (text) => (texts.out += String(text)));
    current.stderr!.on('data', (text) => (texts.err += String(text)));
    let timer = setTimeout(() => current.kill('SIGABRT'), patience);
    current.stdout!.once('data', () => {
      clearTimeout(timer);
      timer = setTimeout(() => current.kill('SIGABRT'), within);
    });
    let taken: Taken = {};
    current.once('exit', () => {
      clearTimeout(timer);
      taken = takeAtOnce(`${way} while ${step}`);
    });
    current.stdin!.end(`${JSON.stringify({ step, way } satisfies Task)}\n`);
    const [code, signal] = (await once(current, 'close')) as [number | null, NodeJS.Signals | null];
    try {
      assert.deepEqual({ code, signal }, ways[way], texts.err);
      assert.equal(texts.out, 'lived');
      return taken;
    } catch (error) {
      taken.devices?.iommufd.close();
      throw error;
    }
  }

  for (const way of Object.keys(ways) as Way[]) {
    it(`of a process by ${way} does not wait while ${withoutBound}`, async () => {
      await useDevices(await endChild(withoutBound, way, 5000));
    });

    describe(`of a process by ${way}`, () => {
      for (const step of steps) {
        it(`while ${step}`, async () => {
          await useDevices(await endChild(step, way));
          const stays = readdirSync(folder).filter((name) => name.startsWith('vfio-dmabuf-fake-'));
          if (ways[way].signal === null) assert.deepEqual(stays, []);
          else assert(stays.length <= 1, 'the next child removes what a killed one left');
        });
      }
    });
  }

  describe('of a worker by terminate()', () => {
    for (const step of steps) {
      it(`while ${step}`, async () => {
        const before = openFiles();
        const workerData: WorkerTask = { step, ...(kernel instanceof FakeKernel ? { token: kernel.token } : {}) };
        const worker = new Worker(child, { workerData });
        await once(worker, 'message');
        let taken: Taken = {};
        let after: unknown[] = [];
        worker.once('exit', () => {
          after = [openFiles(), kernel instanceof FakeKernel ? kernel.openFiles : 0];
          taken = takeAtOnce(`terminate() while ${step}`);
        });
        await worker.terminate();
        await useDevices(taken);
        assert.deepEqual(after, [before, 0]);
        assert.deepEqual(openFiles(), before);
      });
    }

    it(`does not wait while ${withoutBound}`, async () => {
      const fromHere = kernel instanceof FakeKernel ? { token: kernel.token } : {};
      const worker = new Worker(child, { workerData: { step: withoutBound, ...fromHere } satisfies WorkerTask });
      await once(worker, 'message');
      const start = performance.now();
      await worker.terminate();
      assert(performance.now() - start < 5000);
      // The end of the worker signaled its fences, so the resets complete.
      let taken = takeAtOnce('terminate()');
      for (let i = 0; i < 100 && taken.error; i += 1) {
        await sleep(50);
        taken = takeAtOnce('terminate()');
      }
      await useDevices(taken);
    });

    it('needs none once all of it was garbage', async () => {
      const token = kernel instanceof FakeKernel ? { token: kernel.token } : {};
      const worker = new Worker(child, { workerData: { step: 'all of it is garbage', ...token } satisfies WorkerTask });
      await once(worker, 'message');
      await useDevices(takeAtOnce('a garbage collection'));
      await worker.terminate();
    });
  });
});
