// A process that exits while a close waits.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { FdChannel } from '../../../lib';
import { start } from '../../cleanup';
import { lingering, tolerable } from '../../conformance/silence';
import { itNeeds, python } from '../../needs';
import { typescript } from '../../typescript';

describe('a process', function () {
  this.timeout(30_000);

  itNeeds([python], 'ends while the close of what it was sent waits', async () => {
    const [one, other] = FdChannel.pair();
    const attacker = start(
      'python3',
      [
        '-c',
        `${lingering}\nsend(socket.socket(fileno=3), b"x", [lingering(15)])\nprint("sent", flush=True)\ntime.sleep(60)`,
      ],
      { fds: [one.fd] },
    );
    const victim = start(process.execPath, [...typescript, join(__dirname, 'leaver.ts')], { fds: [other.fd] });
    one.close();
    other.close();
    const exit = once(victim, 'exit') as Promise<[number]>;
    await once(createInterface(attacker.stdout), 'line');
    assert.deepEqual(await once(createInterface(victim.stdout), 'line'), ['closed']);
    const closed = performance.now();
    assert.deepEqual((await exit)[0], 0);
    assert(performance.now() - closed < tolerable);
  });
});
