// Eventfds without O_NONBLOCK that other programs also have open.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Eventfd, Kernel } from '../../lib';
import { afterwards, temporaryFolder } from '../cleanup';
import { loadTypeScript } from '../typescript';

const kernel = Kernel.system;
const nonBlocking = 0o4000;

const flagsOf = (fd: number) =>
  Number.parseInt(/^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${String(fd)}`, 'latin1'))?.[1] ?? '', 8);

/**
 * Two objects for one eventfd that blocks: Node clears O_NONBLOCK of a file that it passes to a child as standard
 * input.
 */
function blocking(): [Eventfd, Eventfd] {
  const theirs = Eventfd.create({ kernel });
  spawnSync(process.execPath, ['--version'], { stdio: [theirs.fd, 'ignore', 'inherit'] });
  const ours = Eventfd.fromFd(theirs.fd, { kernel });
  for (const eventfd of [theirs, ours]) {
    afterwards(() => eventfd.close());
    assert.equal(flagsOf(eventfd.fd) & nonBlocking, 0);
  }
  return [theirs, ours];
}

describe('an eventfd that blocks', () => {
  it('does so for others while it is listened to, and afterwards', async () => {
    const [theirs, ours] = blocking();
    const counts = ours.listen();
    const first = counts.next();
    assert.equal(flagsOf(theirs.fd) & nonBlocking, 0);
    theirs.signal();
    assert.deepEqual(await first, { value: 1n, done: false });
    await counts.return();
    assert.equal(flagsOf(theirs.fd) & nonBlocking, 0);
  });

  it('does not block who takes its count, also when another thread takes it first', function () {
    this.timeout(60_000);
    const script = `
      ${loadTypeScript}
      const { Worker, isMainThread, workerData } = require('node:worker_threads');
      const { Eventfd, Kernel } = require(${JSON.stringify(require.resolve('../../lib'))});
      const kernel = Kernel.system;
      const rounds = 300_000;
      if (isMainThread) {
        const state = new Int32Array(new SharedArrayBuffer(4));
        const eventfd = Eventfd.create({ kernel });
        require('node:child_process').spawnSync(process.execPath, ['--version'], { stdio: [eventfd.fd, 'ignore', 'inherit'] });
        new Worker(process.argv[1], { workerData: { fd: eventfd.fd, state }, env: process.env }).unref();
        Atomics.wait(state, 0, 0);
        for (let i = 0; i < rounds; i += 1) {
          eventfd.signal();
          eventfd.take();
        }
        console.log('through');
        process.exit();
      } else {
        const eventfd = Eventfd.fromFd(workerData.fd, { kernel });
        Atomics.store(workerData.state, 0, 1);
        Atomics.notify(workerData.state, 0);
        for (;;) eventfd.take();
      }`;
    const path = `${temporaryFolder()}/taker.cjs`;
    writeFileSync(path, script);
    const child = spawnSync(process.execPath, [path], {
      encoding: 'utf8',
      cwd: join(__dirname, '../..'),
      env: { ...process.env, NODE_PATH: join(__dirname, '../../node_modules') },
      timeout: 30_000,
      killSignal: 'SIGKILL',
    });
    assert.equal(child.stdout.trim(), 'through', child.stderr);
  });
});
