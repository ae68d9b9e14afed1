// Waiting for fds with the event loop.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { Kernel } from '../../lib';
import { native, type FdHandle } from '../../lib/addon/native';
import { pollEvents, ready, Watch } from '../../lib/events/poll';
import { loadTypeScript, typescript } from '../typescript';

const { readable, writable } = pollEvents;

describe('waiting for an fd', () => {
  let fd: FdHandle;
  const add = (count: bigint) => native.fdWrite(fd, new Uint8Array(BigUint64Array.of(count).buffer), false);
  const take = () => Buffer.from(native.fdRead(fd, 8, false)).readBigUInt64LE();

  beforeEach(() => {
    fd = native.fdEventfd(Kernel.system.handle, 0);
  });
  afterEach(() => native.fdClose(fd, false));

  it('resolves when the event is there', async () => {
    const waiting = ready(fd, readable);
    add(3n);
    assert.equal(await waiting, readable);
    assert.equal(take(), 3n);
    assert.equal(await ready(fd, readable | writable), writable);
  });

  it('is given up by a signal, before and meanwhile', async () => {
    await assert.rejects(ready(fd, readable, AbortSignal.abort()), { name: 'AbortError' });
    const waiting = ready(fd, readable, AbortSignal.timeout(10));
    await assert.rejects(waiting, { name: 'TimeoutError' });
  });

  it('tells an event for as long as it is ready', async () => {
    let times = 0;
    const watch = new Watch(fd, readable, () => {
      times += 1;
      if (times === 3) take();
    });
    add(1n);
    await sleep(20);
    watch.close();
    watch.close();
    assert.equal(times, 3);
  });

  it('a listener may close its own watch, and the fd', async () => {
    const seen = await new Promise((resolve) => {
      const watch = new Watch(fd, readable, (events) => {
        watch.close();
        native.fdClose(fd, false);
        resolve(events);
      });
      add(1n);
    });
    assert.equal(seen, readable);
    fd = native.fdEventfd(Kernel.system.handle, 0);
  });

  it('what a listener throws is an uncaught exception', async () => {
    const listeners = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    const caught = once(process, 'uncaughtException');
    const watch = new Watch(fd, readable, () => {
      watch.close();
      throw new Error('of a listener');
    });
    add(1n);
    const [error] = (await caught) as [Error];
    for (const listener of listeners) process.on('uncaughtException', listener);
    assert.equal(error.message, 'of a listener');
  });

  it('an fd that cannot be watched is refused', () => {
    const plain = native.fdOpen(Kernel.system.handle, '/proc/self/comm', false);
    assert.throws(() => new Watch(plain, readable, () => undefined), { code: 'EPERM' });
    native.fdClose(plain, false);
  });

  it('leaves files blocking that others have open, too', async () => {
    // A socket, and the read end of a pipe whose write end stays open.
    const script = `sleep 20 | "$0" "$@" 4<&0`;
    const args = ['-c', script, process.execPath, ...typescript, join(__dirname, 'poll/flags.ts')];
    const child = spawn('sh', args, { stdio: ['ignore', 'pipe', 'inherit', 'pipe'], detached: true });
    const [text] = (await once(child.stdout!, 'data')) as [Buffer];
    process.kill(-child.pid!, 'SIGKILL');
    assert.deepEqual(JSON.parse(text.toString()), Array(5).fill([true, true]));
  }).timeout(20_000);

  it('a worker that ends or is terminated with watches open takes them with it', async () => {
    const code = `
      ${loadTypeScript}
      const { Kernel } = require(${JSON.stringify(require.resolve('../../lib'))});
      const { native } = require(${JSON.stringify(require.resolve('../../lib/addon/native'))});
      const { Watch } = require(${JSON.stringify(require.resolve('../../lib/events/poll'))});
      const watches = [];
      for (let i = 0; i < 10; i += 1) {
        const fd = native.fdEventfd(Kernel.system.handle, i % 2);
        watches.push(new Watch(fd, 1, () => {}));
      }
      globalThis.watches = watches;
      require('node:worker_threads').parentPort.postMessage('ready');
      if (process.argv[2] === 'exit') setTimeout(() => process.exit(), 10);
    `;
    for (const how of ['exit', 'terminate']) {
      const worker = new Worker(code, { eval: true, argv: [how] });
      const exit = once(worker, 'exit');
      await once(worker, 'message');
      if (how === 'terminate') await worker.terminate();
      await exit;
    }
  });
});
