// A fake kernel that several threads use, and cleanup of its sysfs folder.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { DmaBuf, DmaHeap, Iommufd, Kernel, SyncFile, VfioDevice } from '../../lib';
import { FakeKernel, FenceTimeline, type FakeKernelToken } from '../../lib/fake';
import { temporaryFolder } from '../cleanup';
import { loadTypeScript } from '../typescript';

const load = `${loadTypeScript}
  const { DmaMemory, Iommufd, VfioDevice } = require(${JSON.stringify(require.resolve('../../lib'))});
  const { FakeKernel } = require(${JSON.stringify(require.resolve('../../lib/fake'))});
  const { parentPort, workerData } = require('node:worker_threads');`;

function startWorker(code: string, workerData?: FakeKernelToken): Worker {
  return new Worker(load + code, { eval: true, workerData });
}

const bind = `
  const iommufd = Iommufd.open({ kernel });
  const engine = VfioDevice.openSync(kernel.addressOf('engine'), { iommufd });`;

/** Runs a process that makes a fake kernel, with its sysfs in `folder`, and executes `end`. */
function run(folder: string, end: string) {
  const code = `${load} process.env.TMPDIR = ${JSON.stringify(folder)}; const kernel = new FakeKernel(); ${end}`;
  return spawnSync(process.execPath, ['-e', code], { encoding: 'utf8' });
}

describe('a fake kernel', function () {
  this.timeout(30_000);

  it('that cannot be made leaves no folder', () => {
    const folder = temporaryFolder();
    const fails = (machine: string) => `try { new FakeKernel({ ...reference, ${machine} }); } catch { failed += 1; }`;
    // The error occurs in TypeScript before the sysfs is written, in native code, and with a half-written sysfs.
    const machines = ['ports: [{}]', "mdevs: [{ role: 'x', type: 'nonsense' }]", 'cpu: { get vendor() { throw 1; } }'];
    const code = `let failed = 0; const reference = kernel.machine; kernel.close(); ${machines.map(fails).join('')}
      console.log(failed, require('node:fs').readdirSync(process.env.TMPDIR).length);`;
    assert.equal(run(folder, code).stdout, `${String(machines.length)} 0\n`);
  });

  it('that is closed has no fd when its last file is closed, without garbage collection', () => {
    const folder = temporaryFolder();
    const code = `
      const fds = () => require('node:fs').readdirSync('/proc/self/fd').length;
      function use() {
        const kernel = new FakeKernel();
        const iommufd = Iommufd.open({ kernel });
        const device = VfioDevice.openSync(kernel.addressOf('ssd'), { iommufd });
        const ring = device.region(2).ioeventfd({ offset: 0x4000, width: 4, value: 1 });
        kernel.close();
        const view = device.region(2).map({ offset: 0, length: 4096 });
        view.write32(0, 7);
        if (view.read32(0) !== 7) throw new Error('not usable');
        ring.close();
        device.close();
        iommufd.close();
      }
      use();
      const before = fds();
      for (let i = 0; i < 3; i += 1) use();
      console.log(fds() - before);`;
    assert.equal(run(folder, code).stdout, '0\n');
  });

  describe('in several threads', () => {
    it('is one: a device that a worker has bound is taken, and free when the worker is terminated', async () => {
      using kernel = new FakeKernel();
      const worker = startWorker(
        `const kernel = FakeKernel.attach(workerData); ${bind} parentPort.postMessage(engine.fd); setInterval(() => {}, 1000);`,
        kernel.token,
      );
      const [fd] = (await once(worker, 'message')) as [number];
      using iommufd = Iommufd.open({ kernel });
      const address = kernel.addressOf('engine');
      await assert.rejects(VfioDevice.open(address, { iommufd }), { code: 'EINVAL' });
      assert.equal(kernel.openFiles, 3);
      // Opens the worker's device by the number of its fd.
      using same = await VfioDevice.open(fd, { kernel });
      same.command.busMaster = true;
      same.close();
      await worker.terminate();
      assert.equal(kernel.openFiles, 1);
      using engine = await VfioDevice.open(address, { iommufd });
      assert.equal(engine.command.busMaster, false, 'bound anew');
    });

    it('lives on in a thread that has attached when its maker is gone', async () => {
      const worker = startWorker(
        'const kernel = new FakeKernel(); parentPort.postMessage(kernel.token); parentPort.once("message", () => process.exit());',
      );
      const [token] = (await once(worker, 'message')) as [FakeKernelToken];
      const kernel = FakeKernel.attach(token);
      assert.deepEqual([kernel.machine, kernel.sysfs], [token.machine, token.sysfs]);
      worker.postMessage('go');
      await once(worker, 'exit');
      using iommufd = Iommufd.open({ kernel });
      using engine = await VfioDevice.open(kernel.addressOf('engine'), { iommufd });
      assert.equal(engine.id, 1);
      kernel.close();
      assert(existsSync(kernel.sysfs), 'closing what was attached to takes nothing from others');
    });

    it('has nothing open any more when a worker was terminated with calls that had just ended', async () => {
      using kernel = new FakeKernel();
      // The event loop blocks, so the worker never receives its devices and memory.
      const worker = startWorker(
        `const kernel = FakeKernel.attach(workerData); ${bind}
        for (let i = 0; i < 4; i += 1) VfioDevice.open(kernel.addressOf('ssd'), { iommufd });
        parentPort.postMessage(0);
        while (true);`,
        kernel.token,
      );
      await once(worker, 'message');
      while (kernel.openFiles < 6) await setImmediate();
      await worker.terminate();
      assert.equal(kernel.openFiles, 0);
    });

    it('that is gone cannot be attached to', async () => {
      const worker = startWorker('parentPort.postMessage(new FakeKernel().token);');
      const [token] = (await once(worker, 'message')) as [FakeKernelToken];
      await once(worker, 'exit');
      assert.throws(() => FakeKernel.attach(token), { code: 'ERR_NO_SUCH_KERNEL' });
      assert.throws(() => FakeKernel.attach({ ...token, sysfs: '/sys' }), { code: 'ERR_NO_SUCH_KERNEL' });
      assert.throws(() => FakeKernel.attach({} as FakeKernelToken), TypeError);
    });
  });

  describe('leaves no sysfs folder', () => {
    let folder: string;
    beforeEach(() => {
      folder = temporaryFolder();
    });

    /** The files that are left when a process makes a fake kernel and then executes `end`. */
    function left(end: string): string[] {
      const { stderr } = run(folder, end);
      assert(!stderr.includes('KernelError'), stderr);
      return readdirSync(folder);
    }

    for (const [way, end] of Object.entries({
      'at its end': '',
      'by process.exit': 'process.exit();',
      'by an uncaught error': 'throw new Error("this one");',
      'when a worker has it': `const { Worker } = require('node:worker_threads');
        new Worker(${JSON.stringify(`${load} globalThis.kernel = new FakeKernel(); parentPort.postMessage(1); setInterval(() => {}, 1000);`)}, { eval: true })
          .once('message', () => process.exit());`,
    })) {
      it(`when the process ends: ${way}`, () => assert.deepEqual(left(end), []));
    }

    it('when its worker is terminated', async () => {
      const worker = startWorker(
        `globalThis.kernel = new FakeKernel();
        globalThis.buffer = DmaMemory.alloc(4096, { kernel }).buffer;
        parentPort.postMessage(kernel.sysfs);
        setInterval(() => {}, 1000);`,
      );
      const [sysfs] = (await once(worker, 'message')) as [string];
      assert(existsSync(join(sysfs, 'devices')));
      await worker.terminate();
      assert(!existsSync(sysfs));
    });

    it('for long when its process is killed: the next one removes it, and nothing else', () => {
      const [killed = '', ...more] = left('process.kill(process.pid, "SIGKILL");');
      assert.match(killed, /^vfio-dmabuf-fake-/);
      assert.deepEqual(more, []);
      // Similar names that must stay: a file, and a folder with another name.
      writeFileSync(join(folder, 'vfio-dmabuf-fake-abcdef'), '');
      mkdirSync(join(folder, 'vfio-dmabuf-fake-of-mine'));
      const after = left('');
      assert.deepEqual(after.sort(), ['vfio-dmabuf-fake-abcdef', 'vfio-dmabuf-fake-of-mine']);
    });

    it('and touches none that is in use', () => {
      const before = process.env['TMPDIR'];
      process.env['TMPDIR'] = folder;
      using kernel = new FakeKernel();
      if (before === undefined) delete process.env['TMPDIR'];
      else process.env['TMPDIR'] = before;
      assert.equal(left('').length, 1);
      assert(existsSync(join(kernel.sysfs, 'devices')));
    });
  });

  it('refuses the files of another one, by any name, and leaves nothing open', async () => {
    using theirs = new FakeKernel();
    using iommufd = Iommufd.open({ kernel: theirs });
    using ssd = await VfioDevice.open(theirs.addressOf('ssd'), { iommufd });
    using exported = ssd.exportDmaBuf({ region: 2, offset: 0n, length: 4096n });
    using onHeap = DmaHeap.open('system', { kernel: theirs }).allocSync(4096);
    using timeline = FenceTimeline.open({ kernel: theirs });
    using fence = timeline.createFence(1);
    using ours = new FakeKernel();
    using ioas = Iommufd.open({ kernel: ours }).allocIoas();
    const fds = readdirSync('/proc/self/fd').length;
    for (const kernel of [ours, Kernel.system]) {
      for (const { fd } of [exported, onHeap, fence, iommufd, ssd]) {
        const refused = { code: 'ERR_OTHER_KERNEL' };
        assert.throws(() => DmaBuf.fromFd(fd, { kernel }), refused);
        assert.throws(() => SyncFile.fromFd(fd, { kernel }), refused);
        assert.throws(() => Iommufd.fromFd(fd, { kernel }), refused);
        assert.throws(() => VfioDevice.openSync(fd, { kernel }), refused);
        await assert.rejects(VfioDevice.open(fd, { kernel }), refused);
        if (kernel === ours) await assert.rejects(ioas.mapFile(fd, { length: 4096n }), refused);
      }
    }
    assert.equal(readdirSync('/proc/self/fd').length, fds);
    assert.throws(() => DmaBuf.fromFd(iommufd.fd, { kernel: theirs }), { code: 'ERR_NOT_DMA_BUF' });
  });

  it('whose sysfs cannot be made is a KernelError', () => {
    const { stderr } = run('/nonexistent', '');
    assert.match(stderr, /KernelError: ENOENT: .*mkdtemp \(path \/nonexistent\)/);
  });
});
