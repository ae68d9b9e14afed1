// Cases that must not crash: native functions whose JavaScript objects were collected, failures that JavaScript hides,
// and handles of another copy of the addon.
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Worker } from 'node:worker_threads';
import { DmaMemory } from '../../../lib';
import { FakeKernel } from '../../../lib/fake';
import { native } from '../../../lib/addon/native';
import { loadTypeScript } from '../../typescript';
import { collect, makeRig, transferAway } from './rig';

type Function_ = (...args: unknown[]) => unknown;

/** Puts accessors on a prototype while `work` runs. Returns the receivers and values that the setters got. */
function intercept(prototype: object, names: string[], work: () => void, onSet?: () => void) {
  const taken: { object: unknown; value: unknown }[] = [];
  for (const name of names) {
    const set = function (this: unknown, value: unknown) {
      taken[taken.length] = { object: this, value };
      onSet?.();
    };
    Object.defineProperty(prototype, name, { configurable: true, get: () => undefined, set });
  }
  try {
    work();
  } finally {
    for (const name of names) Reflect.deleteProperty(prototype, name);
  }
  return taken;
}

function attempt(call: () => unknown): void {
  try {
    call();
  } catch {
    // The case only fails by a crash.
  }
}

/** The file of the loaded addon. */
function addonFile(): string {
  assert(native.pageSize > 0n); // loads it
  const file = Object.keys(require.cache).find((name) => name.endsWith('vfio_dmabuf.node'));
  assert(file, 'the addon was not loaded by require()');
  return file;
}

export const ownershipCases: Record<string, () => Promise<void> | void> = {
  'a setter on Function.prototype gets a function of a dma-buf that is gone': async () => {
    const start = () => {
      const buffer = DmaMemory.alloc(65_536, { kernel: new FakeKernel() }).exportDmaBuf();
      buffer.beginCpuAccess('rw');
    };
    const taken = intercept(Function.prototype, ['fd', 'ioas', 'words', 'sync', 'data', 'handle'], start);
    const functions = taken.map(({ object }) => object).filter((object) => typeof object === 'function') as Function_[];
    taken.length = 0;
    await collect();
    await collect();
    for (const call of functions) attempt(() => call(3));
  },

  'functions of the addon work when the handles that they came from are garbage': async () => {
    const { ioas, kernel } = makeRig();
    const makeAll = () => {
      const buffer = DmaMemory.alloc(65_536, { kernel }).exportDmaBuf();
      const fd = native.fdShare(buffer.handle);
      const other = native.ioasAllocate(ioas.iommufd.handle);
      const { mapFd, unmap } = native.ioasHot(other);
      return [native.dmaBufSync(fd), mapFd, unmap] as Function_[];
    };
    const functions = Array.from({ length: 50 }, makeAll).flat();
    await collect();
    await collect();
    for (const call of functions) attempt(() => call(3));
    for (const call of functions) attempt(() => call({}));
  },

  'the words of an IOAS are transferred away, and its functions are called': async () => {
    const { ioas, ssd } = makeRig();
    const buffer = ssd.exportDmaBuf({ region: 2, offset: 0n, length: 4096n });
    // The words of a valid call. It would store its IOVA in the words.
    const valid = [BigInt(buffer.fd), 0n, 4096n, 0n, 3n, 0n];
    const hots = Array.from({ length: 20 }, () => native.ioasHot(ioas.handle));
    for (const [i, { words }] of hots.entries()) {
      words.set(valid);
      const moved = transferAway(words.buffer as ArrayBuffer, i % 2 === 0 ? undefined : 4096);
      if (!moved) attempt(() => structuredClone(words.buffer, { transfer: [words.buffer as ArrayBuffer] }));
    }
    await collect();
    // New buffers would occupy the memory of the words if that were freed.
    const others = Array.from({ length: 1000 }, () => new BigUint64Array(new ArrayBuffer(48)));
    for (const words of others) words.set(valid);
    for (const { mapFd, unmap } of hots) {
      mapFd(); // their own words are unchanged
      unmap();
    }
    for (const words of others) assert.deepEqual([...words], valid);
  },

  'the words of an IOAS outlive the worker that made them': async () => {
    const script = `${loadTypeScript}
      const { makeRig, transferAway } = require(${JSON.stringify(require.resolve('./rig'))});
      const { native } = require(${JSON.stringify(require.resolve('../../../lib/addon/native'))});
      const moved = transferAway(native.ioasHot(makeRig().ioas.handle).words.buffer);
      require('node:worker_threads').parentPort.postMessage(moved, moved ? [moved] : []);`;
    const worker = new Worker(script, { eval: true });
    const buffer = await new Promise<ArrayBuffer | undefined>((resolve, reject) =>
      worker.once('message', resolve).once('error', reject),
    );
    await worker.terminate();
    await collect();
    if (buffer) new Uint8Array(buffer).fill(9);
  },

  'a setter that throws does not make a failed call succeed': () => {
    const { ioas, kernel } = makeRig();
    const buffer = DmaMemory.alloc(65_536, { kernel }).exportDmaBuf();
    const names = ['errno', 'syscall', 'ioctl', 'code', 'message', 'stack'];
    for (const kind of ['throws', 'ignores', 'read-only'] as const) {
      const fail = () => {
        if (kind === 'throws') throw new Error('a setter');
      };
      const results: unknown[] = [];
      const refused: (() => unknown)[] = [
        () => ioas.mapDmaBuf(buffer, { iova: 1n }), // not aligned
        () => ioas.mapDmaBuf(buffer, { iova: 0xffff_ffff_ffff_0000n }),
        native.dmaBufSync(buffer.handle).bind(undefined, 0xff),
        native.dmaBufSync(native.fdEventfd(kernel.handle, 0)).bind(undefined, 5),
        () => native.fdDuplicate(kernel.handle, 0x7fff_ffff),
        () => native.ioasUnmap(ioas.handle, 0n, 1n, false),
      ];
      const run = () => {
        for (const [i, call] of refused.entries()) {
          try {
            results[results.length] = [i, call()];
          } catch {
            // Any error is correct.
          }
        }
      };
      if (kind === 'read-only') {
        for (const name of names) Object.defineProperty(Object.prototype, name, { value: 1, configurable: true });
        run();
        for (const name of names) Reflect.deleteProperty(Object.prototype, name);
      } else {
        intercept(Object.prototype, names, run, fail);
      }
      assert.deepEqual(results, [], kind);
      assert.equal(ioas.mappings.length, 0);
    }
  },

  'a setter that throws does not keep a promise from being settled': async () => {
    const kernel = new FakeKernel();
    Object.defineProperty(Object.prototype, 'fd', {
      configurable: true,
      get: () => undefined,
      set: () => {
        throw new Error('a setter');
      },
    });
    const pending = [
      native.memoryAllocate(kernel.handle, 4096n, 0, true),
      native.fdOpen(kernel.handle, '/nothing', true),
      native.memoryAllocate(kernel.handle, 0xffff_ffff_ffff_0000n, 0, true),
    ];
    const settled = await Promise.allSettled(pending);
    Reflect.deleteProperty(Object.prototype, 'fd');
    assert.deepEqual(
      settled.map(({ status }) => status),
      ['fulfilled', 'rejected', 'rejected'],
    );
  },

  'a failed call fails wherever the stack ends': () => {
    const { ioas, kernel } = makeRig();
    const buffer = DmaMemory.alloc(65_536, { kernel }).exportDmaBuf();
    const sync = native.dmaBufSync(native.fdEventfd(kernel.handle, 0));
    let succeeded = 0;
    const dive = (): void => {
      try {
        dive();
      } catch {
        // The stack overflows here or in the next frame.
      }
      for (const call of [() => ioas.mapDmaBuf(buffer, { iova: 1n }), () => sync(5)]) {
        try {
          call();
          succeeded += 1;
        } catch {
          // Expected.
        }
      }
    };
    dive();
    assert.equal(succeeded, 0);
    assert.equal(ioas.mappings.length, 0);
  },

  'accessors of stack traces that throw do not make a failed call succeed': () => {
    const { ioas, kernel } = makeRig();
    const buffer = DmaMemory.alloc(65_536, { kernel }).exportDmaBuf();
    for (const name of ['prepareStackTrace', 'stackTraceLimit', 'captureStackTrace']) {
      const before = Object.getOwnPropertyDescriptor(Error, name);
      const get = () => {
        throw new RangeError('an accessor');
      };
      Object.defineProperty(Error, name, { configurable: true, get, set: get });
      let made: unknown;
      attempt(() => {
        made = ioas.mapDmaBuf(buffer, { iova: 1n });
      });
      if (before) Object.defineProperty(Error, name, before);
      else Reflect.deleteProperty(Error, name);
      assert.equal(made, undefined);
    }
  },

  'another copy of the addon takes no handle of this one': () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'vfio-dmabuf-copy-'));
    try {
      const file = path.join(folder, 'other.node');
      copyFileSync(addonFile(), file);
      const other = createRequire(__filename)(file) as Record<string, Function_ | Record<string, Function_>>;
      const { engine, ioas, iommufd, kernel } = makeRig();
      const { fd, mapping } = native.memoryAllocate(kernel.handle, 4096n, 0, false);
      const handles = [kernel.handle, ioas.handle, iommufd.handle, engine.handle, fd, mapping, native.traceStart()];
      const theirs = (other['systemKernel'] as Function_)();
      const noHandle = ['systemKernel', 'fakeKernel', 'fakeAttach', 'traceStart', 'runLibrary', 'rawMemory'];
      let refused = 0;
      for (const [name, found] of Object.entries(other)) {
        if (noHandle.includes(name)) continue;
        for (const call of typeof found === 'function' ? [found] : Object.values(found)) {
          for (const handle of handles) {
            assert.throws(() => call(handle, handle, handle, handle, handle, handle), TypeError, name);
            refused += 1;
          }
        }
      }
      assert(refused > 500, `${refused} calls`);
      const theirFd = (other['fdEventfd'] as Function_)(theirs, 0); // it accepts its own handles
      assert.throws(() => native.fdEventfd(theirs as never, 0), TypeError);
      assert.throws(() => native.fdClose(theirFd as never, false), TypeError);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};
