// Several processes listen at one path where a killed process left its socket. Exactly one succeeds.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { linkSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { FdChannel, FdServer } from '../../../lib';
import { start, temporaryFolder } from '../../cleanup';
import { typescript } from '../../typescript';

const racers = 3;
const paths = 60;
const step = 8; // milliseconds

async function startRacer() {
  const child = start(process.execPath, [...typescript, join(__dirname, 'racer.ts')]);
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  const next = async () => {
    const { value } = (await lines.next()) as { value: string };
    return JSON.parse(value) as unknown;
  };
  assert.equal(await next(), 'ready');
  return { child, next, tell: (...what: unknown[]) => void child.stdin.write(`${JSON.stringify(what)}\n`) };
}

/** Creates the socket of a killed process, under many names. */
async function leaveBehind(prefix: string): Promise<void> {
  const { child, next, tell } = await startRacer();
  tell(0, 0, 1, prefix);
  assert.deepEqual(await next(), ['listens']);
  child.kill('SIGKILL');
  await once(child, 'exit');
  for (let i = 1; i < paths; i += 1) linkSync(`${prefix}0`, `${prefix}${String(i)}`);
}

describe('processes that race for one path', function () {
  this.timeout(120_000);

  it('one listens, the others are told who', async () => {
    const folder = temporaryFolder();
    const prefix = join(folder, 'socket');
    await leaveBehind(prefix);
    const all = await Promise.all(Array.from({ length: racers }, startRacer));
    const time = Date.now() + 50;
    for (const { tell } of all) tell(time, step, paths, prefix);
    const outcomes = await Promise.all(all.map(async ({ next }) => (await next()) as string[]));
    for (let i = 0; i < paths; i += 1) {
      const path = `${prefix}${String(i)}`;
      const of = outcomes.map((each) => each[i]).sort();
      assert.deepEqual(of, ['EADDRINUSE', 'EADDRINUSE', 'listens'], path);
      const pid = all[outcomes.findIndex((each) => each[i] === 'listens')]?.child.pid;
      using channel = FdChannel.connect(path);
      assert.equal(channel.peer.pid, pid);
    }
    const pid = all[outcomes.findIndex((each) => each[0] === 'listens')]?.child.pid;
    const told = { code: 'EADDRINUSE', hint: `process ${String(pid)} listens there` };
    assert.throws(() => FdServer.listen(`${prefix}0`), told);
    assert.equal(readdirSync(folder).length, paths);
    for (const { tell } of all) tell();
    for (const { next } of all) assert.equal(await next(), 'closed');
    assert.deepEqual(readdirSync(folder), []);
  });
});
